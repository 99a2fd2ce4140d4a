"""The options of an annotation and of its language model, for Python, the command and the workers of a cluster."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Literal

from vckg.base.errors import InputError, did_you_mean
from vckg.base.extras import require_extra

if TYPE_CHECKING:
    from gather.labelling.annotator import Parameters

Ranking = Literal["specific", "t-test", "t-test_overestim_var", "wilcoxon", "logreg"]
RANKINGS: tuple[Ranking, ...] = ("specific", "t-test", "t-test_overestim_var", "wilcoxon", "logreg")
AUTO, CELL = "auto", "cell"
DEFAULT_KEY = "gather"


@dataclass(frozen=True)
class Options:
    """How to annotate.

    Attributes
    ----------
    groupby
        A column of ``obs``; ``auto`` for Leiden clusters; ``cell`` for every cell on its own.
    score, hops
        The score (`gather.retrieval.scores`) and the longest walk of the evidence, 1 to 3.
    top
        Query genes of a cell set.
    ranking
        How the genes of a set are ranked (`gather.cells.expression.rank_cell_sets`).
    layer
        The layer that holds counts or log-normalised values; by default ``.raw`` or ``.X``.
    tissue
        UBERON id or name: cell types known there are preferred.
    candidates, candidates_from_obs
        CL ids or labels, or a column of ``obs`` that holds such: the answer is one of them (a closed set).
    exclude_source
        Sources whose edges do not count, e.g. ``accordion:CELLxGENE`` where the data may be in the Census.
    threshold
        Least confidence of an answer, 0 to 1; None for that of the shipped calibration.
    key_added
        Prefix of the ``obs`` columns and name of the ``uns`` entry.
    seed
        Seed of the clustering.
    sample_key
        A column of ``obs`` with the sample or donor: genes are ranked within each.
    species
        ``human``, ``mouse``, ``rat``, ``macaque``, ``pig``, or ``auto`` (told by taxon, ids and symbols).
    """

    groupby: str = AUTO
    score: str = "calibrated"
    hops: int = 2
    top: int = 50
    ranking: Ranking = "specific"
    layer: str | None = None
    tissue: str | None = None
    candidates: tuple[str, ...] | None = None
    candidates_from_obs: str | None = None
    exclude_source: tuple[str, ...] = ()
    threshold: float | None = None
    key_added: str = DEFAULT_KEY
    seed: int = 0
    sample_key: str | None = None
    species: str = "auto"

    @classmethod
    def of(cls, groupby: str, settings: dict[str, Any]) -> Options:
        """Return the options named by keywords; lists, and a text in place of one, become tuples.

        Raises
        ------
        InputError
            No option has this name.
        """
        known = [field.name for field in fields(cls)]
        for name in settings:
            if name not in known:
                raise InputError(f"no option {name!r}{did_you_mean(name, known)}; one of {', '.join(known)}")
        lists = {
            name: (value,) if isinstance(value, str) else tuple(value)
            for name in ("candidates", "exclude_source")
            if (value := settings.get(name)) is not None
        }
        return cls(groupby, **(settings | lists))

    def parameters(self) -> Parameters:
        """Return the checked parameters of the annotator."""
        from gather.labelling.annotator import Parameters

        if self.threshold is not None and not 0.0 <= self.threshold <= 1.0:
            raise InputError(f"threshold is {self.threshold}; a confidence lies between 0 and 1")
        if not 0 <= self.seed < 2**32:
            raise InputError(f"seed is {self.seed}; wanted a whole number from 0 to {2**32 - 1}")
        if self.sample_key is not None and self.groupby == CELL:
            raise InputError("--sample-key is for cell sets; choose another --groupby than cell")
        if self.ranking != "specific" and self.groupby == CELL:
            raise InputError(
                "--ranking is for cell sets; single cells are ranked by expression, leave it out"
            )
        if self.ranking not in RANKINGS:
            hint = did_you_mean(self.ranking, RANKINGS)
            raise InputError(f"no ranking {self.ranking!r}{hint}; one of {', '.join(RANKINGS)}")
        chosen: dict[str, Any] = {} if self.threshold is None else {"threshold": self.threshold}
        return Parameters(
            score=self.score,
            hops=self.hops,
            top=self.top,
            exclude_source=tuple(sorted(self.exclude_source)),
            **chosen,
        )


def require_grouping(groupby: str) -> None:
    """Refuse clusters or single cells where the libraries of their extra are not installed."""
    if groupby == AUTO:
        require_extra(
            "leiden",
            "finding clusters (--groupby auto; or give --groupby the column of clusters)",
            "scanpy",
            "igraph",
        )
    if groupby == CELL:
        require_extra("cells", "--groupby cell", "numba")


@dataclass(frozen=True, slots=True)
class LlmStep:
    """The model that chooses among the candidates; with `dry_run` its calls and tokens are only counted."""

    model: str
    base_url: str | None = None
    dry_run: bool = False
    timeout_s: float = 120.0
    """Seconds a reply may take."""
    workers: int = 8
    """Calls in flight."""
