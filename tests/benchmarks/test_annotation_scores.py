"""Measures of rankings and of confidence that only the benchmarks print."""

import numpy as np
import pytest

from benchmarks.annotation.scores import hit_at, mean_reciprocal_rank, rank_of_truth
from benchmarks.fit_confidence import area_under_risk_coverage
from gather.ontology import Ontology


def test_rank_of_the_truth_or_of_what_is_above_it():
    """cell > (blood > (T > naive, B), neuron)."""
    child, parent = np.array([1, 5, 2, 3, 4], np.int32), np.array([0, 0, 1, 1, 2], np.int32)
    tree = Ontology([f"CL:{i}" for i in range(6)], child, parent)
    ranked = ["CL:5", "CL:2", "CL:4"]
    assert rank_of_truth(tree, ranked, "CL:4") == 3
    assert rank_of_truth(tree, ranked, "CL:4", ancestors=True) == 2
    assert rank_of_truth(tree, ranked, "CL:1") is None
    assert hit_at([1, 3, None], 1) == pytest.approx(1 / 3)
    assert mean_reciprocal_rank([1, 2, None]) == pytest.approx(0.5)


def test_aurc_rewards_confidence_in_right_answers_and_ignores_order_of_ties():
    good = area_under_risk_coverage([0.9, 0.8, 0.2], [1, 1, 0])
    bad = area_under_risk_coverage([0.9, 0.8, 0.2], [0, 1, 1])
    assert good == pytest.approx((0 + 0 + 1 / 3) / 3)
    assert good < bad
    assert area_under_risk_coverage([0.5, 0.5], [1, 0]) == area_under_risk_coverage([0.5, 0.5], [0, 1])
