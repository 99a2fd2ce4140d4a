"""Deterministic scores of an answer: no model, the same value every time.

One function a task, each giving named dimensions where a perfect answer has 1. `HEADLINE` names the dimension
the leaderboard ranks by; the others explain it. A reply without an answer scores 0, a call that failed and a
metric that does not apply are unscored (None), which is never a 0.

annotation
    The named type is resolved to the Cell Ontology and compared with the truth there: `exact`, `related`,
    `partial` credit, `lineage`, `hierarchical_f1`, and **`lin`** (Lin 1998, intrinsic information content),
    in which "cell" is worth 0 because it says nothing.
captioning
    **`attributes`**: the mean credit of the claims on type, lineage, markers, tissue, function and state
    (`arena.scoring.attributes`); the same comparison as above for the type, and `marker_precision`: the share of
    genes it names that the cell does express.
generation
    `validity`, `uniqueness`, `count` of the list; `marker_recall` against what a real cell of the type shows;
    `rbo` with a real cell (Webber et al. 2010); `likeness`, the same from 0 for cells of other types (random genes
    where none is known) to 1 for a real cell held out; `plausible`, the share of genes that real cells show, 1 for a
    real cell held out; **`fidelity`** joins them.
perturbation
    **`direction_accuracy`** over all candidates, `macro_f1`, `mcc`, and `delta_correlation`: rank changes
    against the *control* cell, where copying the control is worth 0. `sentence_jaccard`, the raw overlap in
    which copying wins, is printed to show just that.
qa
    **`claim_coverage`**: the words of the reference's claims found in the answer in their order, without what the
    question holds, what is copied and what is contradicted (`consistency`); `rouge_l` also charges for what was
    added.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import islice
from typing import Any, Final

import numpy as np

from arena import rankings
from arena.scoring import wording
from arena.scoring.attributes import ATTRIBUTES, attributes
from arena.scoring.gene_lists import Parsed, Values, generation
from arena.scoring.grounding import Named, Names, names_of
from arena.scoring.named_claims import named_claims, told
from arena.tasks import OWN, TASK_TABLE
from arena.tasks.task import Scoring
from arena.types import Answer, Sample, Score, TaskName
from gather.metrics import labels
from vckg.graph.graph import Graph
from vckg.graph.name_keys import label_key

SCORER: Final = "metrics"

HEADLINE: Final[Mapping[TaskName, str]] = {
    "annotation": "lin",
    "captioning": "attributes",
    "generation": "fidelity",
    "perturbation": "direction_accuracy",
    "qa": "claim_coverage",
    **{task: own.dimensions[0] for task, own in OWN.items()},
}
"""The dimension of each task that the leaderboard ranks by."""


def score(sample: Sample, answer: Answer, graph: Graph) -> list[Score]:
    """Scores of one answer, one a dimension of its task.

    Raises
    ------
    ValueError
        The answer belongs to another sample.
    """
    if answer.sample_id != sample.id:
        raise ValueError(f"answer to {answer.sample_id!r} put to sample {sample.id!r}")
    if known := answer.without_reading:
        values, reason = _constant(sample, known[0]), known[1]
    else:
        assert answer.parsed is not None
        values, reason = MEASURES[sample.task](sample, answer.parsed, names_of(graph))
    return [Score.of(answer, SCORER, dimension, value, reason) for dimension, value in values.items()]


def gold_answer(sample: Sample) -> dict[str, Any]:
    """The parsed form of a perfect answer: 1 in every dimension that applies."""
    gold = sample.gold
    if sample.task == "generation":
        return {"genes": list((gold["sentences"] or [gold["markers"]])[0])}
    if sample.task == "captioning":
        # A definition describes the type without naming it first; a caption has to say which type it is.
        return {"caption": f"{gold['cell_type']}: {gold['caption']}"}
    return TASK_TABLE[sample.task].perfect(sample)


def mean_of(values: Sequence[float]) -> float | None:
    """Return the mean, the same to the last digit in any order; None of no values."""
    return math.fsum(values) / len(values) if values else None


def _constant(sample: Sample, value: float | None) -> Values:
    return dict.fromkeys(DIMENSIONS[sample.task], value)


# ---- annotation and captioning ----------------------------------------------------------------------------


def annotation(sample: Sample, parsed: Parsed, names: Names) -> tuple[Values, str]:
    """Compare the named type with the truth in the Cell Ontology; the reason says how it was resolved."""
    text = str(parsed["cell_type"])
    found = names.resolve(text)
    if label_key(text) == label_key(str(sample.gold["cell_type"])):
        # The reference's own words are right even where a later release of the ontology renamed the type.
        found = Named(text, names.truth(sample), "reference")
    values, relation = _label_values(sample, found.curie, names)
    return values, f"{found.name!r} is {found.curie or 'no cell type'} by {found.how}; {relation}"


def _label_values(sample: Sample, predicted: str | None, names: Names) -> tuple[Values, str]:
    truth = names.truth(sample)
    if truth is None:
        return _constant(sample, None), "the reference is not in the graph's Cell Ontology"
    label = labels.score_label(names.ontology, predicted, truth)
    values: Values = {
        "exact": label.exact,
        "related": label.related,
        "partial": label.partial,
        "lineage": float(label.lineage or label.exact),
        "hierarchical_f1": label.hierarchical_f1,
        "lin": label.lin,
    }
    return values, label.relation or "unresolved"


def captioning(sample: Sample, parsed: Parsed, names: Names) -> tuple[Values, str]:
    """Compare the type the caption claims with the truth, and the genes it names with those expressed."""
    caption = str(parsed["caption"])
    curie = names.claimed_type(caption).curie
    if label_key(caption).startswith(label_key(str(sample.gold["cell_type"])) + ":"):
        curie = names.truth(sample)
    label, relation = _label_values(sample, curie, names)
    claimed = names.claimed_genes(caption)
    # A gene of the type's own definition is no false claim where this one cell does not show it.
    expressed = names.genes(sample.fields["genes"]) | names.claimed_genes(str(sample.gold["caption"]))
    claims = attributes(sample, wording.affirmed(caption), curie, label.get("lin"), names)
    given = [value for value in claims.values() if value is not None]
    values: Values = {
        "attributes": sum(given) / len(given) if given else None,
        **{name: value for name, value in claims.items() if name != "type"},
        "type_exact": label.get("exact"),
        "type_hierarchical_f1": label.get("hierarchical_f1"),
        "type_lin": label.get("lin"),
        "marker_precision": len(claimed & expressed) / len(claimed) if claimed else None,
    }
    return values, f"claims {curie or 'no cell type'} ({relation}), genes: {len(claimed)}"


# ---- perturbation -----------------------------------------------------------------------------------------


def perturbation(sample: Sample, parsed: Parsed, names: Names) -> tuple[Values, str]:
    """Compare the direction called for every candidate, and the change of ranks, with what was measured."""
    up, down = set(sample.gold["up"]), set(sample.gold["down"])
    called = _calls(parsed)
    pairs = [(1 if gene in up else -1, called.get(gene.upper(), 0)) for gene in sorted(up | down)]
    gold = np.array([g for g, _ in pairs])
    guess = np.array([c for _, c in pairs])
    values: Values = {
        "direction_accuracy": float((gold == guess).mean()),
        "macro_f1": _macro_f1(gold, guess),
        "mcc": _mcc(gold, guess),
        **_sentence_values(sample, [str(g) for g in parsed.get("sentence") or []]),
    }
    right, silent = int((gold == guess).sum()), int((guess == 0).sum())
    return values, f"{right} of {len(gold)} directions, {silent} not called"


def _calls(parsed: Parsed) -> dict[str, int]:
    """Direction called for each gene, upper case; a gene put on both sides is called for neither."""
    up = {str(gene).upper() for gene in parsed["up"]}
    down = {str(gene).upper() for gene in parsed["down"]}
    return {**dict.fromkeys(up - down, 1), **dict.fromkeys(down - up, -1)}


def _macro_f1(gold: np.ndarray[Any, Any], guess: np.ndarray[Any, Any]) -> float:
    """Mean F1 of the directions that occur in the reference or in the answer."""
    found = []
    for side in (1, -1):
        hits = int(((gold == side) & (guess == side)).sum())
        total = int((gold == side).sum() + (guess == side).sum())
        if total:
            found.append(2 * hits / total)
    return float(np.mean(found))


def _mcc(gold: np.ndarray[Any, Any], guess: np.ndarray[Any, Any]) -> float | None:
    """Matthews correlation of the directions that were called, times their share of all.

    Unscored where the reference has one direction only. Silence is worth what a coin is: nothing.
    """
    if len(set(gold.tolist())) < 2:
        return None
    called = guess != 0
    if len(set(gold[called].tolist())) < 2 or len(set(guess[called].tolist())) < 2:
        return 0.0
    return float(np.corrcoef(gold[called], guess[called])[0, 1] * called.mean())


def _sentence_values(sample: Sample, sentence: Sequence[str]) -> Values:
    control, outcome = sample.fields["control"], sample.gold["sentence"]
    if not (control and outcome):
        return {"delta_correlation": None, "sentence_jaccard": None}
    return {
        "delta_correlation": rankings.delta_correlation(control, outcome, sentence) if sentence else 0.0,
        "sentence_jaccard": rankings.jaccard(sentence, outcome),
    }


# ---- question answering -----------------------------------------------------------------------------------

LENGTH_FACTOR: Final = 3
SHORTEST_READ: Final = 60
FEW_WORDS: Final = 4
"""A claim with fewer words of its own has to stand in one sentence: the order of so few says little."""
_WORD: Final = re.compile(r"\S+")
COVERED: Final = 0.6
"""Share of a claim's words that must be found for it to count as covered."""


def qa(sample: Sample, parsed: Parsed, names: Names) -> tuple[Values, str]:
    """Look for the reference's claims in the answer, read up to three times its length.

    A claim is covered by the name in its place (`arena.scoring.named_claims`), else by the words of it that
    the answer says in the same order; what the answer copies from the input is not read, words of the question do not
    count, and a claim that is contradicted is not covered.
    """
    reference = str(sample.gold["answer"])
    budget = max(SHORTEST_READ, LENGTH_FACTOR * len(reference.split()))
    text = answered_text(sample, parsed)
    sentences = wording.sentences(" ".join(text.split()[:budget]))
    read = [word for sentence in sentences for word in wording.listed_words(sentence)]
    claims = [str(claim) for claim in sample.gold["claims"] or [reference]]
    asked = wording.content_words(str(sample.fields.get("question", "")))
    wanted = [(claim, _unasked(wording.listed_words(claim), asked)) for claim in claims]
    places = _places(claims, asked)
    if not any(words for _claim, words in wanted):
        wanted = [(claim, wording.listed_words(claim)) for claim in claims]
    named = named_claims(claims, names)
    shares, contradicted = [], []
    retracted = wording.retracts(text) and not wording.retracts(reference)
    for claim, words in wanted:
        if words:
            contradicted.append(retracted or _contradicted(claim, words, sentences))
            by_name = told(claim, _first_words(text, budget), named, names) if named else None
            if by_name is not None:
                share = by_name
            elif len(words) < FEW_WORDS:
                share = _told(claim, words, sentences, places)
            else:
                share = wording.common_in_order(words, read) / len(words)
            shares.append(0.0 if contradicted[-1] else share)
    values: Values = {
        "claim_coverage": float(np.mean(shares)) if shares else None,
        "claims_covered": float(np.mean([share >= COVERED for share in shares])) if shares else None,
        "rouge_l": wording.rouge_l(wording.listed_words(text), wording.listed_words(reference)),
        "consistency": 1 - float(np.mean(contradicted)) if contradicted else None,
    }
    return values, f"claims covered: {sum(share >= COVERED for share in shares)} of {len(shares)}"


def _first_words(text: str, most: int) -> str:
    """The beginning of a text, with its lines as they are."""
    return text[: next(islice((word.end() for word in _WORD.finditer(text)), most - 1, None), len(text))]


def answered_text(sample: Sample, parsed: Parsed) -> str:
    """The answer in its own words: without what it copies from the question or the paper."""
    inputs = [str(sample.fields.get(key, "")) for key in ("question", "title", "abstract", "passage")]
    return wording.own_words(str(parsed["answer"]), inputs, str(sample.gold["answer"]))


def _told(claim: str, words: Sequence[str], sentences: Sequence[str], places: set[str]) -> float:
    """Share of a claim's own words in one sentence, times the square of the share of all its words in their order.

    Where the question's words tell the claims apart ("First: NAME. Second: NAME."), a claim is told only behind or
    before its own such words, up to those of another claim.
    """
    every, best = wording.listed_words(claim), 0.0
    own_places, others = places.intersection(every), places.difference(every)
    for sentence in map(wording.listed_words, sentences):
        for part in _split(sentence, others):
            if own_places.issubset(part):
                own, whole = (wording.common_in_order(w, part) / len(w) for w in (words, every))
                best = max(best, own * whole**2)
    return best


def _places(claims: Sequence[str], asked: set[str]) -> set[str]:
    """Words of the question that one claim has and another lacks, where every claim has such a word."""
    held = [asked & wording.content_words(claim) for claim in claims]
    of_all = {word for word in asked if all(word in words for words in held)}
    apart = [words - of_all for words in held]
    return {word for words in apart for word in words} if all(apart) else set()


def _split(words: Sequence[str], at: set[str]) -> list[list[str]]:
    """The runs of words between those of a set."""
    runs: list[list[str]] = [[]]
    for word in words:
        if word in at:
            runs.append([])
        else:
            runs[-1].append(word)
    return runs


def _unasked(words: Sequence[str], asked: set[str]) -> list[str]:
    return [word for word in words if word not in asked]


def _contradicted(claim: str, words: Sequence[str], sentences: Sequence[str]) -> bool:
    """Tell whether the sentence nearest to a claim excludes it.

    A sentence is near where it holds a word of the claim beyond the question, or most of all its words in their order.
    """
    every = wording.listed_words(claim)
    nearest = max(
        sentences,
        key=lambda s: [wording.common_in_order(wanted, wording.listed_words(s)) for wanted in (words, every)],
        default="",
    )
    read = wording.listed_words(nearest)
    near = wording.common_in_order(words, read) or 2 * wording.common_in_order(every, read) > len(every)
    return bool(near) and wording.contradicts(claim, nearest)


Measure = Callable[[Sample, Parsed, Names], tuple[Values, str]]


def _measured_by(own: Scoring) -> Measure:
    return lambda sample, parsed, _names: (own.measure(sample, parsed), "")


MEASURES: Final[Mapping[TaskName, Measure]] = {
    "annotation": annotation,
    "captioning": captioning,
    "generation": generation,
    "perturbation": perturbation,
    "qa": qa,
    **{task: _measured_by(own) for task, own in OWN.items()},
}
DIMENSIONS: Final[Mapping[TaskName, tuple[str, ...]]] = {
    "annotation": ("exact", "related", "partial", "lineage", "hierarchical_f1", "lin"),
    "captioning": (
        "attributes",
        *(name for name in ATTRIBUTES if name != "type"),
        "type_exact",
        "type_hierarchical_f1",
        "type_lin",
        "marker_precision",
    ),
    "generation": (
        "validity",
        "uniqueness",
        "count",
        "marker_recall",
        "rbo",
        "likeness",
        "plausible",
        "fidelity",
    ),
    "perturbation": ("direction_accuracy", "macro_f1", "mcc", "delta_correlation", "sentence_jaccard"),
    "qa": ("claim_coverage", "claims_covered", "rouge_l", "consistency"),
    **{task: own.dimensions for task, own in OWN.items()},
}
"""All dimensions of each task, in the order they are printed."""
