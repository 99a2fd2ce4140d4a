"""How large a tree should be: cost curve, calibration, the cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from serve.spec_decode.tree import Candidates, path_chances
from serve.spec_decode.tree_budget import Arms, Calibration, CostCurve, Levels, choose


def candidates(seed: int, size: int) -> Candidates:
    rng = np.random.default_rng(seed)
    parents = np.array([int(rng.integers(-1, i)) if i else -1 for i in range(size)], np.int64)
    return Candidates(np.arange(size), parents, rng.random(size))


def test_the_cost_curve_never_falls_and_keeps_what_was_measured() -> None:
    curve = CostCurve()
    rows = np.arange(1, 65)
    assert (np.diff(curve(rows)) >= 0).all()
    for _ in range(50):
        curve.add(1, 20.0)
        curve.add(8, 30.0)
        curve.add(32, 90.0)
    ms = curve(rows)
    assert (np.diff(ms) >= 0).all()
    assert ms[[0, 7]].tolist() == pytest.approx([20, 30], rel=0.03)
    assert 30 < ms[15] < ms[31] < ms[63]


def test_one_slow_round_does_not_spoil_the_curve() -> None:
    curve = CostCurve()
    for _ in range(10):
        curve.add(4, 10.0)
    curve.add(4, 10_000.0)
    assert curve(np.array([4]))[0] < 11.0


def test_a_slow_first_pass_of_a_size_shuts_neither_it_nor_larger_ones_out() -> None:
    curve = CostCurve()
    for _ in range(20):
        curve.add(2, 50.0)
    usual = curve(np.arange(2, 9))
    curve.add(3, 500.0)
    assert (curve(np.arange(2, 9)) < 1.25 * usual).all()
    for _ in range(400):
        curve.add(2, 50.0)
    assert (curve(np.arange(2, 9)) < 1.05 * usual).all()


def test_neither_a_slow_round_nor_the_catching_up_of_a_way_decides_against_it() -> None:
    arms = Arms(ways=2)
    taken = []
    for turn in range(300):
        way = arms.pick(1)
        late = turn == 2 or (
            bool(taken) and way == 1 != taken[-1]
        )  # a hiccup; the first round after another way
        arms.add(way, 1, (1, 3)[way], 500.0 if late else (10.0, 20.0)[way])
        taken.append(way)
    assert taken.count(1) > 250


def test_a_source_that_is_too_sure_of_itself_is_corrected() -> None:
    calibration = Calibration()
    rng = np.random.default_rng(0)
    before = calibration(np.array([0.85]))[0]
    for _ in range(400):
        calibration.add(np.array([0.85]), rng.random(1) < 0.3)
    after = calibration(np.array([0.85]))[0]
    assert before == pytest.approx(0.85)
    assert after == pytest.approx(0.3, abs=0.1)
    assert calibration(np.array([0.25]))[0] == pytest.approx(0.25)  # other confidences are not touched


@settings(max_examples=60)
@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(0, 12))
def test_the_cut_is_the_best_prefix_by_definition(seed: int, requests: int, budget: int) -> None:
    """No other number of the most valuable nodes brings more tokens a millisecond, and every tree stays closed."""
    rng = np.random.default_rng(seed)
    trees = [candidates(seed + r, int(rng.integers(0, 15))) for r in range(requests)]
    cost = CostCurve()
    for rows in (1, 4, 16, 64):
        cost.add(rows, 10 + float(rng.random()) * rows)
    cut = choose(trees, [budget] * requests, cost, 1.0)
    for tree in cut:
        assert len(tree) <= budget
        assert all(-1 <= p < i for i, p in enumerate(tree.parents.tolist()))

    def rate(values: list[float]) -> float:
        rows = np.array([requests + k for k in range(len(values) + 1)])
        return (requests + sum(values)) / (cost(rows)[-1] + 1.0)

    offered = sorted(
        (v for t in trees for v in sorted(path_chances(t).tolist(), reverse=True)[:budget]), reverse=True
    )
    best = max(rate(offered[:k]) for k in range(len(offered) + 1))
    taken = [v for t in cut for v in path_chances(t).tolist()]
    assert rate(taken) == pytest.approx(best)


def test_a_fixed_size_is_kept() -> None:
    trees = [candidates(1, 12), candidates(2, 12)]
    cut = choose(trees, [20, 3], CostCurve(), 1.0, nodes=5)
    assert [len(t) for t in cut] == [5, 3]


def test_a_head_is_asked_for_the_levels_it_reaches_and_one_more() -> None:
    levels = Levels(6, least=0.05)
    assert levels.count == 6  # nothing known yet

    def rounds(n: int, *chance: float) -> None:
        for _ in range(n):  # the likeliest of three candidates; the others do not count
            levels.add(np.array([[[c / 3, c, c / 2] for c in chance[: levels.count]]]))

    rounds(1, 0.5, 0.3, 0.2, 0.2, 0.2, 0.2)  # paths: .5 .15 .03 ...
    assert levels.count == 3
    rounds(200, 0.9, 0.9, 0.9, 0.9, 0.9, 0.9)  # the head got better, level by level
    assert levels.count == 6
    rounds(200, 0.01, 0.9, 0.9, 0.9, 0.9, 0.9)
    assert levels.count == 1
