"""Metrics against worked values; the traps of published evaluations each as a test."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gather.metrics import labels as ev
from gather.metrics import multiple_testing as multiple
from gather.ontology import Ontology
from vckg.base.errors import GraphError, InputError


@pytest.fixture(scope="module")
def tree():
    """cell > (blood > (T > (naive, memory), B), neuron); `naive` is also directly below blood."""
    terms = ["CL:0", "CL:1", "CL:2", "CL:3", "CL:4", "CL:5", "CL:6"]
    names = ["cell", "blood", "T", "B", "naive", "memory", "neuron"]
    edges = [(1, 0), (6, 0), (2, 1), (3, 1), (4, 2), (5, 2), (4, 1)]
    child, parent = (np.array(ends, np.int32) for ends in zip(*edges, strict=True))
    return Ontology(
        terms,
        child,
        parent,
        names=names,
        equivalent=[["CL:5", "CL:3"]],
        lineages=[("T", "CL:2"), ("blood", "CL:1")],
    )


def test_a_parent_is_a_parent_even_when_it_is_a_sibling_too(tree):
    """popV's `_ontology_accuracy` tests siblings first: T and naive T share the parent blood."""
    assert tree.relation(2, 4) == "ancestor"
    assert tree.relation(4, 2) == "descendant"
    assert tree.relation(1, 4) == "ancestor"
    assert tree.relation(6, 4) == "other"


def test_siblings_exact_and_equivalent_terms(tree):
    assert tree.relation(4, 5) == "sibling"
    assert tree.relation(3, 3) == "exact"
    assert tree.relation(3, 5) == "exact"
    assert tree.lin(3, 5) == 1.0
    assert tree.equivalents(5) == (3, 5)


def test_information_content_is_intrinsic(tree):
    """1 - ln(descendants + 1) / ln(terms): 0 at the root, 1 at leaves, T has two kinds below it."""
    np.testing.assert_allclose(tree.information[[0, 4, 6]], [0, 1, 1], atol=1e-12)
    assert tree.information[2] == pytest.approx(1 - np.log(3) / np.log(7))


def test_lin_is_twice_the_shared_information_over_the_sum(tree):
    shared = tree.information[2]
    assert tree.lin(4, 5) == pytest.approx(2 * shared / 2)
    assert tree.lin(4, 6) == 0.0
    np.testing.assert_allclose(tree.lin_to_all(4), [tree.lin(4, i) for i in range(7)])


def test_a_cycle_is_refused():
    with pytest.raises(GraphError, match="cycle"):
        Ontology(["CL:0", "CL:1"], np.array([0, 1], np.int32), np.array([1, 0], np.int32))


def test_the_lowest_common_ancestor_is_the_most_informative_one(tree):
    assert tree.lowest_common_ancestor([4, 5]) == 2
    assert tree.lowest_common_ancestor([4, 3]) == 1
    assert tree.lowest_common_ancestor([4]) == 4
    assert tree.lowest_common_ancestor([4, 6]) == 0


def test_lineages_take_the_narrower_first(tree):
    assert [tree.lineage(i) for i in (4, 3, 6)] == ["T", "blood", None]


def test_an_answer_without_a_term_is_wrong_everywhere_and_counted_apart(tree):
    for nothing in (None, "", "CL:999"):
        scores = ev.score_label(tree, nothing, "CL:4")
        assert not scores.answered
        assert (scores.exact, scores.related, scores.lin, scores.partial) == (0, 0, 0, 0)


def test_hierarchical_f1_punishes_both_ways(tree):
    """Closures without a root below the cut: {cell, blood, T} against {cell, blood, T, naive}."""
    assert ev.hierarchical_f1(tree, 2, 4) == pytest.approx(2 * 3 / (3 + 4))
    assert ev.hierarchical_f1(tree, 4, 2) == pytest.approx(2 * 3 / (3 + 4))
    assert ev.hierarchical_f1(tree, 4, 4) == 1.0


def test_chance_is_the_mean_similarity_of_a_random_candidate(tree):
    expected = np.mean([tree.lin(4, i) for i in range(7)])
    assert ev.lin_expected(tree, ["CL:4"], tree.terms) == pytest.approx(expected)
    assert ev.adjusted(expected, expected) == 0.0
    assert ev.adjusted(1.0, expected) == 1.0


def test_calibration_error_of_a_worked_example():
    """Two bins: 0.9 said, half right, two items; 0.1 said, none right, two items."""
    assert ev.expected_calibration_error([0.9, 0.9, 0.1, 0.1], [1, 0, 0, 0]) == pytest.approx(0.25)
    assert ev.reliability([0.9, 0.9, 0.1], [1, 0, 0]) == [(1, 0.1, 0.0), (2, 0.9, 0.5)]


def test_a_bootstrap_interval_holds_the_mean_and_knows_strata():
    values, groups = [1.0] * 30 + [0.0] * 2, ["large"] * 30 + ["small"] * 2
    micro, macro = ev.bootstrap(values), ev.bootstrap(values, strata=groups)
    assert micro.value == pytest.approx(30 / 32)
    assert macro.value == 0.5
    assert micro.low <= micro.value <= micro.high
    assert ev.bootstrap([float("nan"), 1.0]).n == 1
    again = ev.bootstrap(values)
    assert (micro.low, micro.high) == (again.low, again.high)


def test_paired_tests_see_what_pairs_show():
    a, b = np.array([1.0] * 12 + [0.0]), np.array([0.0] * 12 + [0.0])
    assert ev.paired_permutation(a, b) < 0.01
    assert ev.mcnemar(a, b) == pytest.approx(2 * 0.5**12)
    assert ev.paired_permutation(a, a) == 1.0
    assert ev.mcnemar(a, a) == 1.0
    assert ev.paired_difference(a, b).value == pytest.approx(12 / 13)


def test_holm_of_a_worked_example():
    np.testing.assert_allclose(multiple.holm([0.01, 0.04, 0.03]), [0.03, 0.06, 0.06])


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_false_discovery_rates_follow_their_definition(p):
    values = np.array(p)
    order = np.argsort(values, kind="stable")
    expected = np.array(
        [
            min([1.0, *(values[j] * len(values) / (r + 1) for r, j in enumerate(order) if values[j] >= x)])
            for x in values
        ]
    )
    np.testing.assert_allclose(multiple.benjamini_hochberg(values), expected, atol=1e-12)


NAN = float("nan")


@pytest.mark.parametrize(
    "asked",
    [
        lambda: ev.paired_permutation([1, 0, 1, NAN], [1, 0, 1, 1]),
        lambda: ev.mcnemar([1, 0, 1, 1], [1, NAN, 1, 1]),
        lambda: multiple.benjamini_hochberg([0.1, NAN]),
        lambda: multiple.holm([0.1, NAN]),
        lambda: ev.expected_calibration_error([0.5, NAN], [1, 0]),
        lambda: ev.reliability([0.5, 0.5], [1, NAN]),
    ],
)
def test_an_unscored_unit_is_refused_with_its_count(asked):
    with pytest.raises(InputError, match=r"1 of [24] (units|p-values) are"):
        asked()


def test_intervals_leave_unscored_units_out_and_count_the_others():
    found = ev.bootstrap([1.0, NAN, 1.0, 0.0])
    assert (found.n, found.value) == (3, pytest.approx(2 / 3))
    assert ev.paired_difference([1.0, NAN], [0.0, 1.0]).n == 1
    assert ev.bootstrap([NAN]).n == 0
