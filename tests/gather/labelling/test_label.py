"""Named, backed off, unknown or ungrounded: when, and how sure."""

from dataclasses import replace

import numpy as np
import pytest

from gather.labelling.decide import (
    CHANCE_SHARPNESS,
    CONSIDERED,
    EXACT_BONUS,
    FEW_CELLS,
    FEW_CELLS_FDR,
    LEAST_CELLS,
    LEAST_GENES,
    MAX_FDR,
    Calibration,
    Labeller,
    by_expected_similarity,
    default_calibration,
    logit,
)
from gather.ontology import Ontology
from gather.retrieval.query import GeneQuery
from gather.retrieval.scores import Convergence, Support

PLAIN = Calibration(1.0, 0.0, 1.0, 0.0, 0.0, 0.5, 0.2)
"""Confidence is belief itself; one step of sharpness."""


@pytest.fixture(scope="module")
def ontology():
    """cell > (blood > (T > (naive T, memory T), B), neuron)"""
    edges = [(1, 0), (6, 0), (2, 1), (3, 1), (4, 2), (5, 2)]
    child, parent = (np.array(ends, np.int32) for ends in zip(*edges, strict=True))
    names = ["cell", "blood", "T", "B", "naive T", "memory T", "neuron"]
    return Ontology([f"CL:{i}" for i in range(7)], child, parent, names=names)


def decide(ontology, scores, calibration=PLAIN, *, back_off=True, genes=3, fdr=(), cells=None):
    nodes = np.array(sorted(scores), np.int32)
    query = GeneQuery("q", np.arange(genes, dtype=np.int32), np.ones(genes), ("g",) * genes)
    score = np.array([scores[n] for n in nodes.tolist()], float)
    ones = np.ones(len(nodes))
    chance = np.array([dict(fdr).get(n, 0.02) for n in nodes.tolist()])
    convergence = Convergence(query, "Cell", nodes, score, ones * 0.01, chance)
    support = Support(ones, ones, np.full(len(nodes), genes))
    return Labeller(ontology, calibration, back_off=back_off).decide(convergence, support, cells=cells)


def test_a_clear_winner_is_named(ontology):
    found = decide(ontology, {4: 8.0, 3: 1.0, 6: 1.0})
    assert (found.status, found.label) == ("named", "naive T")
    assert found.confidence == pytest.approx(0.8)


def test_the_one_in_the_middle_of_its_rivals_is_the_best_candidate(ontology):
    """Neuron scores a little higher, but three kinds of T cell share what it does not have."""
    found = decide(ontology, {2: 4.0, 4: 4.1, 5: 4.0, 6: 4.2})
    assert found.candidates[0].label == "T"
    clear = decide(ontology, {2: 4.0, 4: 4.1, 5: 4.0, 6: 9.0})
    assert clear.candidates[0].label == "neuron"


@pytest.mark.parametrize("seed", range(20))
def test_the_order_is_that_of_the_expected_worth_summed_term_by_term(ontology, seed):
    rng = np.random.default_rng(seed)
    score = np.sort(rng.uniform(0.1, 1.0, 6))[::-1]
    terms = rng.permutation(7)[:6]
    chance = [(s / score[0]) ** CHANCE_SHARPNESS for s in score]
    worth = [
        sum(c * ontology.lin(int(a), int(t)) for c, t in zip(chance, terms, strict=True)) / sum(chance)
        + EXACT_BONUS * own / sum(chance)
        for a, own in zip(terms, chance, strict=True)
    ]
    order = by_expected_similarity(score, terms, ontology)
    assert order.tolist() == sorted(range(6), key=lambda i: (-round(worth[i], 9), i))


def test_rivals_below_one_parent_back_off_to_it(ontology):
    found = decide(ontology, {4: 4.2, 5: 4.0, 6: 1.0})
    assert (found.status, found.label) == ("backed_off", "T")
    assert found.confidence == pytest.approx(8.2 / 9.2)


def test_the_deepest_term_that_passes_is_the_answer(ontology):
    """T gathers too little, blood enough."""
    found = decide(ontology, {4: 3.0, 5: 1.5, 3: 2.9, 6: 2.0}, replace(PLAIN, threshold=0.6, vague=0.1))
    assert (found.status, found.label) == ("backed_off", "blood")


def test_rivals_without_an_informative_common_ancestor_are_unknown(ontology):
    found = decide(ontology, {4: 3.0, 6: 2.9, 3: 2.9}, replace(PLAIN, threshold=0.8))
    assert (found.status, found.label, found.curie) == ("unknown", "unknown", "")
    assert [c.rank for c in found.candidates] == [1, 2, 3]


def test_too_vague_a_winner_is_no_answer(ontology):
    assert decide(ontology, {0: 5.0}).status == "unknown"


def test_what_chance_would_bring_as_often_as_not_is_not_named(ontology):
    """Naive T wins clearly, but only T as a whole is more than chance: through memory T, a kind of it."""
    scores = {4: 8.0, 5: 2.0, 6: 1.0}
    assert decide(ontology, scores).label == "naive T"
    found = decide(ontology, scores, fdr={4: MAX_FDR + 0.01, 5: 0.01, 6: 0.9})
    assert (found.status, found.label, found.fdr) == ("backed_off", "T", 0.01)
    assert found.confidence == pytest.approx(10 / 11)


@pytest.mark.parametrize("back_off", [True, False])
def test_where_all_is_chance_the_answer_is_unknown(ontology, back_off):
    every = {4: 1.0, 5: 0.8, 6: 0.9}
    found = decide(ontology, {4: 8.0, 5: 2.0, 6: 1.0}, fdr=every, back_off=back_off)
    assert (found.status, found.curie, found.fdr) == ("unknown", "", 1.0)
    assert found.candidates[0].label == "naive T"
    assert found.candidates[0].confidence > PLAIN.threshold


def test_what_shows_a_kind_of_a_type_shows_the_type(ontology):
    found = decide(ontology, {2: 9.0, 4: 3.0, 6: 1.0}, fdr={2: 0.9, 4: 0.01, 6: 1.0})
    assert (found.status, found.label, found.fdr) == ("named", "T", 0.01)
    assert decide(ontology, {2: 9.0, 4: 3.0}, fdr={2: MAX_FDR, 4: 1.0}).fdr == MAX_FDR


def test_just_enough_is_enough_and_a_hair_less_is_not(ontology):
    """Of confidence, of information and of significance, for the best candidate and for an ancestor of it."""
    won, shared = {4: 8.0, 3: 1.0, 6: 1.0}, {4: 4.2, 5: 4.0, 6: 1.0}
    hair = 1 + 1e-9
    for scores, status, label, term in ((won, "named", "naive T", 4), (shared, "backed_off", "T", 2)):
        sure, says = decide(ontology, scores).confidence, ontology.information[term]
        assert decide(ontology, scores, replace(PLAIN, threshold=sure)).label == label
        assert decide(ontology, scores, replace(PLAIN, threshold=sure * hair)).label != label
        assert decide(ontology, scores, replace(PLAIN, vague=says)).label == label
        assert decide(ontology, scores, replace(PLAIN, vague=says * hair)).label != label
        chance = dict.fromkeys(scores, MAX_FDR)
        assert (found := decide(ontology, scores, fdr=chance)).label == label
        assert (found.status, found.fdr) == (status, MAX_FDR)
        assert decide(ontology, scores, fdr=dict.fromkeys(scores, MAX_FDR * hair)).status == "unknown"


def test_the_confidence_is_the_logistic_of_what_is_added_up():
    """-1 + 2 ln(0.6 / 0.4) + 3 * 0.25 + 4 * 0.5, and beliefs beyond a thousandth count as one."""
    added = Calibration(1.0, -1.0, 2.0, 3.0, 4.0, 0.5, 0.2)
    x = -1 + 2 * np.log(1.5) + 0.75 + 2
    one = np.ones(1)
    assert added.confidence(0.6 * one, 0.25 * one, 0.5 * one) == pytest.approx(1 / (1 + np.exp(-x)))
    np.testing.assert_allclose(
        logit(np.array([0.0, 0.001, 0.5, 1.0])), np.log([1 / 999, 1 / 999, 1, 999]), atol=1e-12
    )


def test_candidates_are_told_with_their_own_figures(ontology):
    nodes = np.array([3, 4, 6], np.int32)
    query = GeneQuery("q", np.arange(3, dtype=np.int32), np.ones(3), ("g",) * 3)
    score, p, fdr = np.array([1.0, 8.0, 2.0]), np.array([0.3, 0.001, 0.2]), np.array([0.35, 0.01, 0.25])
    support = Support(np.array([0.3, 0.8, 0.5]), np.array([0.2, 0.9, 0.6]), np.array([1, 3, 2]))
    calibration = Calibration(1.0, -1.0, 1.0, 0.5, 0.7, 0.1, 0.2)
    labeller = Labeller(ontology, calibration)
    convergence = Convergence(query, "Cell", nodes, score, p, fdr)
    found = labeller.decide(convergence, support)
    assert [c.curie for c in found.candidates] == [
        "CL:4",
        "CL:3",
        "CL:6",
    ]  # B is more like naive T than neuron
    belief = labeller.on_line(labeller.spread(score, nodes), nodes)
    sure = calibration.confidence(belief, support.similarity, support.share)
    for rank, (told, i) in enumerate(zip(found.candidates, (1, 0, 2), strict=True), start=1):
        assert (told.rank, told.label) == (rank, ontology.names[nodes[i]])
        assert (told.score, told.p, told.fdr, told.n_genes) == (score[i], p[i], fdr[i], support.genes[i])
        assert told.confidence == pytest.approx(sure[i])
    assert (found.label, found.confidence) == ("naive T", found.candidates[0].confidence)
    assert len(labeller.decide(convergence, support, top=2).candidates) == 2


def test_only_the_first_few_by_score_can_become_the_best(ontology):
    """A chain of many candidates: the order beyond the first `CONSIDERED` is that of the scores."""
    n = CONSIDERED + 4
    star = Ontology(
        [f"CL:{i}" for i in range(n + 1)], np.arange(1, n + 1, dtype=np.int32), np.zeros(n, np.int32)
    )
    nodes = np.arange(1, n + 1, dtype=np.int32)
    score = np.linspace(1.0, 0.9, n)
    query = GeneQuery("q", np.arange(1, dtype=np.int32), np.ones(1), ("g",))
    convergence = Convergence(query, "Cell", nodes, score, np.ones(n), np.ones(n))
    best = Labeller(star, PLAIN).best(convergence, n)
    assert sorted(best[:CONSIDERED].tolist()) == list(range(CONSIDERED))
    assert best[CONSIDERED:].tolist() == list(range(CONSIDERED, n))
    assert len(Labeller(star, PLAIN).best(convergence, 3)) == 3


def test_a_closed_set_never_answers_outside_itself(ontology):
    found = decide(ontology, {4: 4.2, 5: 4.0, 6: 4.0}, back_off=False)
    assert found.status == "unknown"
    assert decide(ontology, {0: 5.0}, back_off=False).label == "cell"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"cells": LEAST_CELLS - 1}, "few_cells"),
        ({"genes": LEAST_GENES - 1}, "few_genes"),
        ({"fdr": {4: 1.0, 6: 1.0}}, "chance"),
        ({"cells": FEW_CELLS - 1}, "chance"),  # 0.02 is enough for many cells
        ({"scores": {4: 4.0, 3: 4.0, 6: 4.0}, "back_off": False}, "unsure"),
    ],
)
def test_unknown_says_why_and_never_lends_the_refused_candidates_confidence(ontology, changes, reason):
    scores = changes.pop("scores", {4: 8.0, 6: 1.0})
    found = decide(ontology, scores, **changes)
    assert (found.status, found.reason, found.curie, found.confidence) == ("unknown", reason, "", 0.0)
    assert found.candidates[0].label in ("naive T", "B")
    assert found.candidates[0].confidence > 0
    named = decide(ontology, {4: 8.0, 6: 1.0}, cells=FEW_CELLS)
    assert (named.status, named.reason) == ("named", "")


def test_a_set_of_few_cells_is_named_where_the_evidence_is_beyond_chance(ontology):
    found = decide(ontology, {4: 8.0, 6: 1.0}, cells=LEAST_CELLS, fdr={4: FEW_CELLS_FDR})
    assert (found.status, found.label) == ("named", "naive T")


def test_nothing_asked_is_ungrounded_and_nothing_reached_unknown(ontology):
    assert decide(ontology, {4: 1.0}, genes=0).status == "ungrounded"
    assert decide(ontology, {4: 0.0}).status == "unknown"


def test_what_is_not_decided_has_no_candidate_no_confidence_and_no_significance(ontology):
    for found, reason in (
        (decide(ontology, {4: 1.0}, genes=0), "no_gene"),
        (decide(ontology, {4: 0.0}), "no_marker"),
    ):
        assert found.reason == reason
        assert (found.curie, found.confidence, found.fdr, found.candidates) == ("", 0.0, 1.0, ())


def test_of_two_ancestors_that_pass_the_more_special_one_is_the_answer(ontology):
    loose = replace(PLAIN, threshold=0.75, vague=0.01)
    found = decide(ontology, {4: 4.2, 5: 4.0, 3: 1.0}, loose)
    assert (
        Labeller(ontology, loose).ontology.information[1] >= loose.vague
    )  # blood may be an answer, and has all
    assert (found.status, found.label) == ("backed_off", "T")


def test_chances_are_scores_relative_to_the_best_sharpened_and_add_up_to_1(ontology):
    spread = Labeller(ontology, replace(PLAIN, sharpness=3.0)).spread(np.array([2.0, 1.0]), np.array([4, 6]))
    np.testing.assert_allclose(spread[[4, 6]], [8 / 9, 1 / 9])
    assert spread.sum() == pytest.approx(1.0)


def test_belief_counts_what_is_above_and_below(ontology):
    """A T cell call is related to naive T (below) and blood (above), not to B."""
    labeller = Labeller(ontology, PLAIN)
    spread = np.array([0, 0.1, 0.2, 0.3, 0.25, 0.1, 0.05])
    np.testing.assert_allclose(labeller.on_line(spread, np.array([2])), [0.1 + 0.2 + 0.25 + 0.1])


def test_the_shipped_confidence_grows_with_belief_similarity_and_support():
    shipped = default_calibration()
    one = np.ones(1)
    low = shipped.confidence(0.3 * one, 0.2 * one, 0.3 * one)
    for higher in ((0.9, 0.2, 0.3), (0.3, 0.6, 0.3), (0.3, 0.2, 0.9)):
        assert shipped.confidence(*(x * one for x in higher)) > low
    assert 0 < low < 1


def test_a_parent_is_never_less_sure_than_its_kind(ontology):
    """Naive T has support of its own, T and B little: the parents are as sure as naive T."""
    nodes = np.array([2, 3, 4], np.int32)
    query = GeneQuery("q", np.arange(3, dtype=np.int32), np.ones(3), ("g",) * 3)
    ones = np.ones(3)
    convergence = Convergence(query, "Cell", nodes, np.array([4.0, 1.0, 3.0]), ones * 0.01, ones * 0.01)
    support = Support(ones, np.array([0.1, 0.1, 0.9]), np.full(3, 3))
    calibration = Calibration(1.0, -2.0, 0.0, 4.0, 0.0, 0.5, 0.2)
    sure = Labeller(ontology, calibration).confidences(convergence, support)
    low, high = (1 / (1 + np.exp(2 - 4 * x)) for x in (0.1, 0.9))
    np.testing.assert_allclose(sure, [high, high, high, low, high, 0, 0])


def test_terms_above_the_candidates_stand_by_their_kinds(ontology):
    found = decide(ontology, {2: 8.0, 4: 2.0, 5: 1.0}, fdr={2: 0.9, 4: 0.8, 5: 0.01})
    standing = {s.curie: s for s in found.standings}
    assert set(standing) == {"CL:0", "CL:1", "CL:2", "CL:4", "CL:5"}
    assert [standing[f"CL:{i}"].fdr for i in (1, 2, 4, 5)] == [0.01, 0.01, 0.8, 0.01]
    assert found.fdr == standing[found.curie].fdr
    assert found.confidence == standing[found.curie].confidence
