"""Several columns of labels to one: the deepest cell type that more than half of their weight supports.

A label supports its own type and every type above it. Where columns differ, their lowest common ancestor is so the
deepest type that all of them support, and a majority may go deeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from gather.ontology import Ontology


@dataclass(frozen=True, slots=True)
class Agreement:
    """What some weighted terms agree on.

    `term` is a position in the ontology, None where no type with enough information has a majority; `share` is the
    weight that supports it over the weight of all votes. `supports` and `off` are indices of the votes that have the
    term or a kind of it, and of those whose term is not on its line; the others are more general than the term.
    """

    term: int | None
    share: float
    supports: tuple[int, ...] = ()
    off: tuple[int, ...] = ()


def agree(
    ontology: Ontology, votes: Sequence[int], weights: Sequence[float] | None = None, *, vague: float = 0.0
) -> Agreement:
    """Return the deepest term that more than half of the weight supports.

    Parameters
    ----------
    votes
        Position of each column's term; equivalent terms count as one.
    weights
        Positive, one a vote; 1 each by default.
    vague
        Least information content of an answer: less says too little.

    Returns
    -------
    Agreement
        Of several terms as deep, the one with the most weight, then the lower CURIE.

    Examples
    --------
    >>> import numpy as np
    >>> from gather.ontology import Ontology
    >>> lymphocytes = Ontology(["lymphocyte", "B", "T"], np.array([1, 2]), np.array([0, 0]))
    >>> agree(lymphocytes, [1, 2]).term, agree(lymphocytes, [1, 2, 2]).term
    (0, 2)
    """
    if not votes:
        return Agreement(None, 0.0)
    weight = np.ones(len(votes)) if weights is None else np.asarray(weights, dtype=np.float64)
    above = np.stack([_at_or_above(ontology, vote) for vote in votes])
    share = np.round(weight @ above / weight.sum(), 12)
    possible = np.flatnonzero((share > 0.5) & (ontology.information >= vague))
    if not len(possible):
        return Agreement(None, 0.0, (), tuple(range(len(votes))))
    deepest = np.lexsort((possible, -share[possible], -ontology.information[possible]))
    term = int(possible[deepest[0]])
    line = _at_or_above(ontology, term)
    off = [i for i, vote in enumerate(votes) if not above[i, term] and not line[vote]]
    return Agreement(term, float(share[term]), tuple(np.flatnonzero(above[:, term]).tolist()), tuple(off))


def _at_or_above(ontology: Ontology, term: int) -> npt.NDArray[np.bool_]:
    """Mark a term, its equivalents and all terms above those, bool[terms]."""
    return np.asarray(ontology.closure[list(ontology.equivalents(term))].any(axis=0))
