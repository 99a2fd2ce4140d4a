"""Intervals cover, tests keep their level, and every fast form agrees with the slow definition."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from sklearn.metrics import cohen_kappa_score

from arena.leaderboard import statistics as s
from arena.leaderboard.agreement import agreement, quadratic_kappa

NAN = float("nan")


def clustered(
    rng: np.random.Generator, contestants: int, sizes: np.ndarray, between: float
) -> tuple[np.ndarray, s.Clusters]:
    """Scores of mean 0 with a cluster effect of standard deviation `between` and noise of 1."""
    labels = np.repeat([f"c{i:03d}" for i in range(len(sizes))], sizes)
    effects = np.repeat(rng.normal(0, between, (contestants, len(sizes))), sizes, axis=1)
    return effects + rng.normal(0, 1, (contestants, sizes.sum())), s.Clusters.of(labels.tolist())


@pytest.mark.parametrize(
    ("sizes", "between"),
    [
        (np.full(200, 1), 0.0),  # independent samples
        (np.full(50, 6), 1.0),  # equal clusters, strong effect
        (np.random.default_rng(5).integers(1, 12, 60), 0.7),  # unequal clusters
        (np.full(12, 10), 1.0),  # few clusters
    ],
)
def test_a_95_percent_interval_covers_the_truth_93_to_97_times_in_100(
    sizes: np.ndarray, between: float
) -> None:
    scores, clusters = clustered(np.random.default_rng(1), 3000, sizes, between)
    found = s.mean_intervals(scores, clusters, resamples=1500, seed=2)
    covered = np.mean([interval.low <= 0 <= interval.high for interval in found])
    assert 0.93 <= covered <= 0.97


def test_ignoring_the_clusters_would_not_cover() -> None:
    scores, clusters = clustered(np.random.default_rng(1), 1000, np.full(50, 6), 1.0)
    alone = s.Clusters.of([f"{i:04d}" for i in range(scores.shape[1])])
    found = s.mean_intervals(scores, alone, resamples=1000, seed=2)
    assert np.mean([interval.low <= 0 <= interval.high for interval in found]) < 0.75
    assert clusters.effective() == 50


@pytest.mark.parametrize("sizes", [np.full(200, 1), np.full(40, 5), np.full(10, 8)])
def test_the_sign_flip_test_errs_at_most_6_times_in_100(sizes: np.ndarray) -> None:
    rng = np.random.default_rng(3)
    first, clusters = clustered(rng, 3000, sizes, 0.8)
    second, _ = clustered(rng, 3000, sizes, 0.8)
    p = s.sign_flip_p(clusters.sums(first - second), flips=2000, seed=4)
    assert np.mean(p <= 0.05) <= 0.06
    assert np.mean(p <= 0.05) >= 0.035  # and it is not idle either


def test_few_clusters_are_tested_exactly_as_by_the_definition() -> None:
    differences = np.random.default_rng(0).normal(0.4, 1, (5, 7))
    p = s.sign_flip_p(differences)
    for row, found in zip(differences, p, strict=True):
        patterns = list(itertools.product([-1, 1], repeat=7))
        far = sum(abs(np.dot(signs, row)) >= abs(row.sum()) - 1e-9 for signs in patterns)
        assert found == pytest.approx(far / len(patterns))


def test_bootstrap_means_agree_with_drawing_clusters_one_by_one() -> None:
    scores = np.array([[1.0, 0.0, NAN, 3.0, 2.0], [NAN, NAN, 5.0, NAN, NAN]])
    labels = ["b", "a", "a", "c", "b"]
    clusters = s.Clusters.of(labels)
    draws = s.bootstrap_means(scores, clusters, resamples=30, seed=9)
    weights = clusters.weights(30, 9)
    for row, column in itertools.product(range(2), range(30)):
        drawn = [
            value
            for label, value in zip(labels, scores[row], strict=True)
            for _ in range(int(weights[clusters.names.index(label), column]))
            if np.isfinite(value)
        ]
        assert draws[row, column] == pytest.approx(np.mean(drawn) if drawn else NAN, nan_ok=True)


def test_an_unscored_sample_is_left_out_and_never_counts_as_zero() -> None:
    assert s.means(np.array([[1.0, NAN, 1.0]])) == pytest.approx([1.0])
    assert np.isnan(s.means(np.array([[NAN, NAN]]))[0])


def test_all_contestants_meet_the_same_resamples() -> None:
    row = np.random.default_rng(0).normal(size=30)
    clusters = s.Clusters.of([str(i % 7) for i in range(30)])
    draws = s.bootstrap_means(np.stack([row, row + 1]), clusters, resamples=50, seed=1)
    assert draws[1] - draws[0] == pytest.approx(1.0)


def test_pairing_shortens_the_interval_of_a_difference() -> None:
    rng = np.random.default_rng(2)
    hardness = rng.normal(0, 1, 300)
    scores = np.stack([hardness + rng.normal(0, 0.3, 300), hardness + 0.1 + rng.normal(0, 0.3, 300)])
    clusters = s.Clusters.of([str(i) for i in range(300)])
    paired = s.paired_tests([s.Block(scores, clusters)], resamples=500)
    alone = s.mean_intervals(scores, clusters, resamples=500)
    assert paired.high[0] - paired.low[0] < 0.5 * (alone[0].high - alone[0].low)
    assert paired.p_holm[0] < 0.01
    assert paired.low[0] < -0.1 < paired.high[0]


def test_with_too_few_clusters_for_an_interval_no_size_is_called_detectable() -> None:
    scores = np.array([[0.9, 0.8], [0.4, 0.5]])
    paired = s.paired_tests([s.Block(scores, s.Clusters.of(["a", "b"]))], resamples=100)
    assert np.isnan([paired.low[0], paired.high[0], paired.detectable[0]]).all()


def test_a_difference_of_the_detectable_size_is_found_four_times_in_five() -> None:
    rng = np.random.default_rng(6)
    clusters = s.Clusters.of([f"{i:03d}" for i in range(150)])
    base = rng.normal(0, 1, (400, 150))
    detectable = s.paired_tests([s.Block(base[:2], clusters)], resamples=800).detectable[0] / np.sqrt(2)
    p = s.sign_flip_p(clusters.sums(base + detectable), flips=1000)
    assert 0.7 <= np.mean(p <= 0.05) <= 0.9


def test_holm_by_hand() -> None:
    assert s.holm(np.array([0.01, NAN, 0.04, 0.03])) == pytest.approx([0.03, NAN, 0.06, 0.06], nan_ok=True)
    assert s.holm(np.array([0.9, 0.8])).tolist() == [1.0, 1.0]


def test_many_contestants_can_still_differ_significantly_after_holm() -> None:
    rng = np.random.default_rng(0)
    scores = np.linspace(0, 3, 30)[:, None] + rng.normal(0, 0.5, (30, 80))
    paired = s.paired_tests([s.Block(scores, s.Clusters.of([str(i) for i in range(80)]))], resamples=100)
    assert len(paired.pairs) == 435
    assert paired.p_holm[s.pairs(30).index((0, 29))] < 0.05


def test_ranks_are_intervals_and_ties_share_them() -> None:
    rng = np.random.default_rng(0)
    scores = np.array([1.0, 1.0, 0.0])[:, None] + rng.normal(0, 0.3, (3, 100))
    paired = s.paired_tests([s.Block(scores, s.Clusters.of([str(i) for i in range(100)]))], resamples=200)
    assert s.rank_intervals(paired, 3) == [(1, 2), (1, 2), (3, 3)]


def test_one_contestant_has_rank_one_and_no_pairs() -> None:
    paired = s.paired_tests([s.Block(np.ones((1, 4)), s.Clusters.of(list("abcd")))])
    assert paired.pairs == ()
    assert s.rank_intervals(paired, 1) == [(1, 1)]


def test_wilson_by_its_formula_and_for_nothing_counted() -> None:
    found, z = s.wilson(8, 10), 1.959964
    centre = (0.8 + z * z / 20) / (1 + z * z / 10)
    half = z * np.sqrt(0.8 * 0.2 / 10 + z * z / 400) / (1 + z * z / 10)
    assert (found.low, found.high) == pytest.approx((centre - half, centre + half), abs=1e-5)
    assert np.isnan(s.wilson(0, 0).value)


def test_bradley_terry_orders_by_wins_and_counts_ties_as_half() -> None:
    scores = np.array([[1, 1, 1, 0.5], [0, 0, 1, 0.5], [0, 0, 0, 0.5]])
    fit = s.bradley_terry(scores)
    assert fit.win_rate[0, 1] == pytest.approx((2 + 1) / 4)
    assert fit.win_rate[1, 0] == pytest.approx(1 / 4)
    assert fit.strength[0] > fit.strength[1] > fit.strength[2] > 0


@settings(max_examples=40, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=3, max_size=30))
def test_quadratic_kappa_agrees_with_scikit_learn(ratings: list[tuple[int, int]]) -> None:
    a, b = np.array(ratings, dtype=float).T
    if np.ptp(a) == 0 and np.ptp(b) == 0:
        return
    expected = cohen_kappa_score(a, b, weights="quadratic", labels=list(range(6)))
    assert quadratic_kappa(a, b) == pytest.approx(expected)


def test_agreement_of_a_rater_with_itself_and_with_its_opposite() -> None:
    ratings = np.array([0.0, 0.2, 0.4, 1.0, NAN])
    same, against = agreement(ratings, ratings), agreement(ratings, 1 - ratings)
    assert (same.n, same.kappa, same.alpha, same.spearman, same.exact) == (4, 1.0, 1.0, 1.0, 1.0)
    assert against.spearman == pytest.approx(-1.0)
    assert against.alpha < 0


def test_what_differs_by_rounding_alone_is_equal() -> None:
    """A rating of 4 is 0.8 under some weights and 0.7999999999999999 under others."""
    ratings = np.array([0.8, 0.8, 0.2, 0.2, 1.0])
    other = np.array([0.7999999999999999, 0.8, 0.19999999999999998, 0.2, 1.0])
    assert agreement(ratings, other).spearman == agreement(other, ratings).spearman == 1.0
    assert agreement(other[:2], np.array([0.0, 1.0])).spearman is None  # constant


def test_a_constant_rater_has_no_kappa_rather_than_a_wrong_one() -> None:
    found = agreement(np.ones(5), np.array([0, 0.2, 0.4, 0.6, 1.0]))
    assert found.kappa is None
    assert found.spearman is None
    assert found.exact == pytest.approx(0.2)


def test_reliability_is_high_where_contestants_differ_and_low_where_they_do_not() -> None:
    rng = np.random.default_rng(0)
    clusters = s.Clusters.of([str(i) for i in range(200)])
    apart = np.linspace(0, 1, 8)[:, None] + rng.normal(0, 1, (8, 200))
    assert s.split_half_reliability(apart, clusters) > 0.9
    assert s.split_half_reliability(rng.normal(0, 1, (8, 200)), clusters) < 0.75
    assert np.isnan(s.split_half_reliability(apart[:2], clusters))


def test_a_pair_without_a_common_sample_is_not_compared() -> None:
    scores = np.array([[1.0, NAN, 0.5], [NAN, 1.0, NAN], [0.0, 0.0, 0.2]])
    paired = s.paired_tests([s.Block(scores, s.Clusters.of(list("abc")))], resamples=50)
    assert np.isnan(paired.difference[0])
    assert np.isnan(paired.p[0])
    assert paired.common.tolist() == [0, 2, 1]
    assert s.rank_intervals(paired, 3) == [(1, 3)] * 3


def test_scores_of_few_clusters_have_a_mean_and_no_interval() -> None:
    clusters = s.Clusters.of(["a", "a", "b"])
    scores = np.array([[0.2, 0.4, NAN], [0.2, 0.4, 0.6]])
    one, two = s.mean_intervals(scores, clusters, resamples=50)
    assert one.value == pytest.approx(0.3)
    assert np.isnan([one.low, one.high]).all()
    assert two.value == pytest.approx(0.4)
    assert np.isnan([two.low, two.high]).all()
    for groups, known in ((9, False), (10, True)):
        rows = np.random.default_rng(1).random((1, groups))
        (found,) = s.mean_intervals(rows, s.Clusters.of([str(i) for i in range(groups)]), resamples=200)
        assert np.isfinite([found.low, found.high]).all() == known


@pytest.mark.parametrize("groups", [4, 20])
def test_an_unscored_difference_has_no_p(groups: int) -> None:
    table = np.ones((2, groups))
    table[1, 0] = NAN
    scored, unscored = s.sign_flip_p(table, flips=200)
    assert scored < 0.2
    assert np.isnan(unscored)


@pytest.mark.parametrize("successes", [0, 20])
def test_clusters_that_score_alike_have_the_exact_interval_of_a_share(successes: int) -> None:
    clusters = s.Clusters.of([f"{i:02d}" for i in range(20)])
    (found,) = s.mean_intervals(np.full((1, 20), successes / 20), clusters, resamples=50)
    exact = binomtest(successes, 20).proportion_ci(0.95, method="exact")
    assert (found.low, found.high) == pytest.approx((exact.low, exact.high))


def test_a_constant_difference_has_an_interval_within_its_bounds_and_a_p_above_0() -> None:
    clusters = s.Clusters.of([f"{i:02d}" for i in range(20)])
    scores = np.array([np.ones(20), np.zeros(20), np.zeros(20)])
    paired = s.paired_tests([s.Block(scores, clusters)], resamples=50)
    unlike = 1 - 0.025 ** (1 / 20)
    assert paired.low == pytest.approx([1 - 2 * unlike, 1 - 2 * unlike, -unlike])
    assert paired.high == pytest.approx([1, 1, unlike])
    assert s.probability(1.25e-9) == 1.25e-9
    assert s.probability(NAN) is None
