"""The measurement of checked labels: the choice of cuts, the damage, and its figures, on sets made up here."""

import numpy as np
import pytest

from benchmarks import check_labels
from benchmarks.check_labels import MOST_FALSE, File, Pair, choose, draw, measure

RIGHT, WRONG = Pair("same", 0.0, frozenset()), Pair("conflict", 1.0, frozenset({"conflict"}))
FINE = Pair("finer", 0.9, frozenset({"too fine"}))


def file_of(n: int, own: Pair = RIGHT) -> File:
    """Sets of alternating lineages; the labels of the other lineage conflict."""
    pairs = [[own if i % 2 == j % 2 else WRONG for j in range(n)] for i in range(n)]
    apart = [["same" if i % 2 == j % 2 else "conflict" for j in range(n)] for i in range(n)]
    return File("f", [str(i % 2) for i in range(n)], pairs, apart, [[FINE]] * n)


def test_swaps_come_in_pairs_and_leave_the_other_sets_alone():
    for seed in range(20):
        sets = list(draw(file_of(10), "lineages swapped", 0.5, np.random.default_rng(seed)))
        damaged = [i for i, (was, _) in enumerate(sets) if was]
        assert len(damaged) % 2 == 0
        assert sum(i % 2 for i in damaged) == len(damaged) / 2
        assert all(("conflict" in flags) == was for was, flags in sets)
    assert not any(was for was, _ in draw(file_of(10), "siblings swapped", 1.0, np.random.default_rng(0)))


def test_figures_of_a_perfect_queue_are_one_and_false_flags_lower_precision(monkeypatch):
    monkeypatch.setattr(check_labels, "DRAWS", 60)
    precision, recall = measure([file_of(20)] * 3, "lineages swapped", 0.2, "conflict")
    assert (precision.value, recall.value) == (1.0, 1.0)
    doubted = file_of(20, own=Pair("finer", 0.5, frozenset({"too fine"})))
    precision, recall = measure([doubted] * 3, "lineages swapped", 0.2, None)
    assert recall.value == 1.0
    assert precision.low <= precision.value <= precision.high
    assert precision.value == pytest.approx(0.2, abs=0.05)


def test_the_cut_is_the_least_that_flags_few_undamaged_labels():
    files = [file_of(1, Pair("conflict", worth, frozenset())) for worth in np.linspace(0, 1, 101)]
    cuts = choose(files)
    flagged = sum(file.pairs[0][0].worth >= cuts["conflict"] for file in files)
    assert flagged <= MOST_FALSE * 101 < sum(f.pairs[0][0].worth >= cuts["conflict"] - 0.05 for f in files)
    assert cuts["too fine"] == 0.0
