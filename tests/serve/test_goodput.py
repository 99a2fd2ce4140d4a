"""Smooth goodput: every equation against its definition, and the properties that make it worth having."""

import math
from collections.abc import Callable, Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.relatives import (
    SaturatingPenalty,
    StepPenalty,
    TpotSlo,
    distserve_goodput,
    fluid_token_rate,
    goodput,
)
from serve.errors import InputError
from serve.goodput import (
    Ending,
    LinearPenalty,
    Penalty,
    ReadingSlo,
    SmoothGoodput,
    Timeline,
    attainment,
    idle_latency,
    met,
    throughput,
)

times = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=12).map(sorted)
paces = st.floats(0.05, 2)
penalties: st.SearchStrategy[Penalty] = st.sampled_from(
    [LinearPenalty(), LinearPenalty(grace=1.0), SaturatingPenalty(), StepPenalty()]
)


def timeline_of(
    times: Sequence[float], *, ended: float | None = None, ending: Ending = Ending.FINISHED
) -> Timeline:
    """A timeline that was committed at 0."""
    last = times[-1] if times else 0.0
    return Timeline("", 0.0, tuple(times), last if ended is None else ended, ending)


@st.composite
def timelines(draw: st.DrawFn, censored: bool = True) -> Timeline:
    tokens = draw(times)
    if censored and draw(st.booleans()):
        ending = draw(st.sampled_from([Ending.DROPPED, Ending.CANCELLED, Ending.UNFINISHED]))
        return timeline_of(tokens, ended=tokens[-1] + draw(st.floats(0, 20)), ending=ending)
    return timeline_of(tokens)


def reader_stalls(tokens: list[float], pace: float) -> float:
    """A reader takes one token every `pace` seconds from the commitment on, and waits where it is not there."""
    clock = idle = 0.0
    for time in tokens:
        clock += pace
        if time > clock:
            idle += time - clock
            clock = time
    return idle


# --- equations ---------------------------------------------------------------------------------------------


def test_deadlines_are_the_papers() -> None:
    t = np.array([1.0, 1.5, 4.0])
    assert ReadingSlo(0.2).deadlines(t).tolist() == pytest.approx([0.2, 0.4, 0.6])
    assert ReadingSlo(0.2, allowance=1).deadlines(t).tolist() == pytest.approx([1.2, 1.4, 1.6])
    assert TpotSlo(2, 0.5).deadlines(t).tolist() == [2, math.inf, 2.0]
    for slo in (ReadingSlo(), TpotSlo(1, 1)):
        assert len(slo.deadlines(np.array([]))) == 0
    assert TpotSlo(2, 0.5).deadlines(t[:1]).tolist() == [2]


def test_the_equations_on_one_small_example() -> None:
    on_time, late = timeline_of([0.1, 0.2, 0.3, 0.4]), timeline_of([0.1, 0.2, 1.6])
    slo = ReadingSlo(0.2)
    assert [met(on_time, slo), met(late, slo)] == [True, False]
    assert attainment([on_time, late], slo) == 0.5
    assert goodput([on_time, late], slo, 10) == 0.4
    assert throughput([on_time, late], 10) == 0.7
    assert idle_latency(late, slo) == pytest.approx(1.0)
    assert SmoothGoodput().benefit(late) == pytest.approx(3 - 2.5 * 1.0 / 0.2)
    assert SmoothGoodput()([on_time, late], 10) == pytest.approx((4 + 3 - 12.5) / 10)


def test_what_an_idle_time_costs_is_what_each_penalty_says() -> None:
    """Six seconds of waiting for an answer of ten tokens."""
    assert LinearPenalty(pace=0.5, grace=2.0).tokens(10, 6.0, 3.0) == 3.0 * 4.0 / 0.5
    assert LinearPenalty(pace=0.5, grace=2.0).tokens(10, 1.0, 3.0) == 0
    assert SaturatingPenalty(tau=3.0).tokens(10, 6.0, 0.5) == pytest.approx(10 * (1 - math.exp(-2)))
    assert StepPenalty().tokens(10, 6.0, 0.5) == 10
    for penalty in (LinearPenalty(), SaturatingPenalty(), StepPenalty()):
        assert penalty.tokens(10, 6.0, 0.0) == penalty.tokens(10, 0.0, 2.0) == 0


@given(times, paces)
def test_idle_latency_is_the_sum_of_all_stalls_of_a_reader(tokens: list[float], pace: float) -> None:
    assert idle_latency(timeline_of(tokens), ReadingSlo(pace)) == pytest.approx(
        reader_stalls(tokens, pace), abs=1e-9
    )


@given(times, paces)
def test_no_idle_time_exactly_where_the_slo_is_met(tokens: list[float], pace: float) -> None:
    timeline, slo = timeline_of(tokens), ReadingSlo(pace)
    assert (idle_latency(timeline, slo) == 0) == met(timeline, slo)


@given(times, st.integers(-1000, 1000))
def test_when_a_request_was_committed_does_not_matter(tokens: list[float], shift: int) -> None:
    moved = Timeline("a", shift, tuple(t + shift for t in tokens), tokens[-1] + shift)
    assert SmoothGoodput().benefit(moved) == pytest.approx(
        SmoothGoodput().benefit(timeline_of(tokens)), abs=1e-6
    )


# --- monotone: delay cannot help
# -----------------------------------------------------------------------------


@given(times, st.data(), penalties, st.floats(0, 5))
def test_a_later_token_never_raises_the_benefit(
    tokens: list[float], data: st.DataObject, penalty: Penalty, alpha: float
) -> None:
    measure = SmoothGoodput(penalty=penalty, alpha=alpha)
    k = data.draw(st.integers(0, len(tokens) - 1))
    ceiling = tokens[k + 1] if k + 1 < len(tokens) else tokens[k] + 10
    delayed = [*tokens[:k], data.draw(st.floats(tokens[k], ceiling)), *tokens[k + 1 :]]
    assert measure.benefit(timeline_of(delayed)) <= measure.benefit(timeline_of(tokens))


def test_example_1_padding_gaps_to_a_threshold_does_not_raise_smooth_goodput() -> None:
    honest = [0.1, 0.2, 0.3, 0.4, 1.7]  # fast, then one stall longer than 0.5 s between tokens
    padded = [0.1, 0.6, 1.1, 1.6, 2.1]
    assert SmoothGoodput().benefit(timeline_of(padded)) < SmoothGoodput().benefit(timeline_of(honest))


# --- abandonment
# ---------------------------------------------------------------------------------------------


@given(timelines(), st.data(), st.sampled_from([LinearPenalty(), LinearPenalty(grace=1.0)]), st.floats(0, 5))
def test_giving_up_at_any_token_never_beats_serving(
    whole: Timeline, data: st.DataObject, penalty: Penalty, alpha: float
) -> None:
    measure = SmoothGoodput(penalty=penalty, alpha=alpha)
    k = data.draw(st.integers(0, whole.n))
    # Whenever it is given up, the user waits until then at least; a drop that is told only at the end is the
    # worst.
    cut = timeline_of(whole.token_s[:k], ended=whole.ended_s, ending=Ending.DROPPED)
    assert measure.benefit(cut) <= measure.benefit(whole) + 1e-9


def test_the_literal_formula_rewards_giving_up_and_the_censored_rule_does_not() -> None:
    measure = SmoothGoodput()
    whole = timeline_of([0.1, 0.2, 0.3, 10.0])
    literal = timeline_of([0.1, 0.2, 0.3])  # pretends that it was complete
    ruled = timeline_of([0.1, 0.2, 0.3], ended=10.0 + 2.0, ending=Ending.DROPPED)
    assert measure.benefit(whole) == pytest.approx(4 - 2.5 * 9.2 / 0.2)  # -111
    assert measure.benefit(literal) == 3  # the known gap of Eq. 10
    assert measure.benefit(ruled) < measure.benefit(whole)


def test_example_2_killing_late_requests_raises_goodput_but_not_smooth_goodput() -> None:
    """One server, one request at a time: killing the request that is already late frees the time of the next."""
    slo, window = ReadingSlo(0.2, allowance=1.0), 10.0
    late = Timeline("late", 0.0, tuple(3 + 0.1 * i for i in range(10)), 3.9)
    behind = Timeline("behind", 2.5, tuple(3.9 + 0.1 * i for i in range(1, 11)), 4.9)
    killed = Timeline("late", 0.0, (), 4.9, Ending.DROPPED)
    earlier = Timeline("behind", 2.5, tuple(3 + 0.1 * i for i in range(1, 11)), 4.0)
    serve, kill = [late, behind], [killed, earlier]
    assert goodput(kill, slo, window) > goodput(serve, slo, window)
    measure = SmoothGoodput(slo)
    assert measure(kill, window) <= measure(serve, window)


def test_a_rejected_request_costs_the_time_its_user_waited() -> None:
    rejected = timeline_of([], ended=0.7, ending=Ending.REJECTED)
    assert idle_latency(rejected, ReadingSlo(0.2)) == pytest.approx(0.5)
    assert SmoothGoodput().benefit(rejected) == pytest.approx(-2.5 * 0.5 / 0.2)


def test_a_user_who_left_in_time_has_lost_nothing() -> None:
    left = timeline_of([0.1, 0.2, 0.3], ended=0.5, ending=Ending.CANCELLED)
    assert met(left, ReadingSlo(0.2))
    assert SmoothGoodput().benefit(left) == 3


# --- what it embeds
# ------------------------------------------------------------------------------------------


@given(st.lists(timelines(censored=False), max_size=8), paces, st.floats(0.1, 5))
def test_the_step_penalty_gives_the_goodput_of_equation_7(
    all_: list[Timeline], pace: float, alpha: float
) -> None:
    slo = ReadingSlo(pace)
    assert SmoothGoodput(slo, StepPenalty(), alpha)(all_, 7.0) == pytest.approx(goodput(all_, slo, 7.0))


@given(st.lists(timelines(), max_size=8), penalties)
def test_alpha_0_is_throughput_and_any_alpha_stays_below(all_: list[Timeline], penalty: Penalty) -> None:
    assert SmoothGoodput(penalty=penalty, alpha=0)(all_, 3.0) == pytest.approx(throughput(all_, 3.0))
    assert SmoothGoodput(penalty=penalty)(all_, 3.0) <= throughput(all_, 3.0) + 1e-9


@given(timelines(), penalties, st.floats(0, 5))
def test_the_benefit_is_at_most_the_answer_and_saturation_keeps_it_positive(
    timeline: Timeline, penalty: Penalty, alpha: float
) -> None:
    assert SmoothGoodput(penalty=penalty, alpha=alpha).benefit(timeline) <= timeline.n
    assert 0 <= SmoothGoodput(penalty=SaturatingPenalty(), alpha=alpha).benefit(timeline) <= timeline.n


@given(st.lists(timelines(), min_size=1, max_size=8), st.randoms(use_true_random=False))
def test_it_adds_up_over_requests_in_any_order_over_a_fixed_window(all_: list[Timeline], rng: object) -> None:
    measure = SmoothGoodput()
    assert measure(all_, 5.0) == pytest.approx(sum(measure([t], 5.0) for t in all_))
    assert measure(all_[::-1], 5.0) == pytest.approx(measure(all_, 5.0))
    assert measure(all_[1:], 5.0) == pytest.approx(measure(all_, 5.0) - measure.benefit(all_[0]) / 5.0)


# --- input
# ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("build", "word"),
    [
        (lambda: timeline_of([0.1, math.nan]), "finite"),
        (lambda: timeline_of([0.2, 0.1]), "in order"),
        (lambda: timeline_of([-0.1]), "in order"),
        (lambda: timeline_of([1.0], ended=0.5), "in order"),
        (lambda: timeline_of([]), "without a token"),
        (lambda: ReadingSlo(0), "pace"),
        (lambda: ReadingSlo(allowance=-1), "allowance"),
        (lambda: SmoothGoodput(alpha=-1), "alpha"),
        (lambda: SmoothGoodput()([], 0), "window_s"),
        (lambda: attainment([], ReadingSlo()), "no timelines"),
        (lambda: fluid_token_rate([], prefill=1), "no timelines"),
        (lambda: distserve_goodput([2, 1], lambda k: [], TpotSlo(1, 1)), "ascend"),
    ],
)
def test_what_makes_no_sense_is_refused_by_name(build: Callable[[], object], word: str) -> None:
    with pytest.raises(InputError, match=word):
        build()


def test_no_request_at_all_is_zero_goodput() -> None:
    assert SmoothGoodput()([], 1.0) == goodput([], ReadingSlo(), 1.0) == throughput([], 1.0) == 0


def test_one_token() -> None:
    assert SmoothGoodput().benefit(timeline_of([0.2])) == 1
    assert met(timeline_of([0.2]), TpotSlo(0.2, 0.1))


# --- in a simulated server
# -----------------------------------------------------------------------------------


def simulate(rate: float, seed: int, *, least_laxity: bool = False, pace: float = 0.2) -> list[Timeline]:
    """A server that decodes up to 8 requests at a time, 20 + 10 ms a request a step; Poisson arrivals for 60 s."""
    rng = np.random.default_rng(seed)
    arrivals = np.cumsum(rng.exponential(1 / rate, size=int(rate * 60)))
    wanted = rng.integers(20, 120, size=len(arrivals))
    tokens: list[list[float]] = [[] for _ in arrivals]
    clock = 0.0
    while any(len(t) < n for t, n in zip(tokens, wanted, strict=True)):
        ready = [k for k, at in enumerate(arrivals) if at <= clock and len(tokens[k]) < wanted[k]]
        if not ready:
            clock = min(at for k, at in enumerate(arrivals) if not tokens[k] and at > clock)
            continue
        if least_laxity:
            ready.sort(key=lambda k: (arrivals[k] + pace * (len(tokens[k]) + 1), k))
        batch = ready[:8]
        clock += 0.02 + 0.01 * len(batch)
        for k in batch:
            tokens[k].append(clock)
    return [Timeline(str(k), float(at), tuple(tokens[k]), tokens[k][-1]) for k, at in enumerate(arrivals)]


def test_over_load_smooth_goodput_has_an_inner_peak_that_a_larger_alpha_does_not_move_right() -> None:
    rates = [0.25, 0.5, 0.75, 1.0, 1.25, 1.5, 2.0]
    runs = [simulate(rate, seed=3) for rate in rates]
    peaks = []
    for alpha in (0.5, 1.0, 2.5, 5.0):
        curve = [SmoothGoodput(alpha=alpha)(run, 60.0) for run in runs]
        peaks.append(int(np.argmax(curve)))
    assert 0 < peaks[0] < len(rates) - 1
    assert peaks == sorted(peaks, reverse=True)


def test_least_laxity_first_beats_first_come_first_served_in_overload() -> None:
    gains = []
    for seed in range(4):
        fcfs, laxity = (simulate(1.6, seed, least_laxity=flag) for flag in (False, True))
        gains.append(SmoothGoodput()(laxity, 60.0) - SmoothGoodput()(fcfs, 60.0))
    assert np.mean(gains) > 0


@settings(max_examples=20)
@given(times)
def test_delivery_in_bursts_is_no_worse_where_it_is_earlier(tokens: list[float]) -> None:
    """Speculative decoding brings several tokens at once: earlier or equal times, larger gaps."""
    burst = [tokens[i // 3 * 3] for i in range(len(tokens))]  # each chunk of three when its first is there
    assert SmoothGoodput().benefit(timeline_of(burst)) >= SmoothGoodput().benefit(timeline_of(tokens))
