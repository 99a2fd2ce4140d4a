"""Measures of other papers: Andes, fluidity, the fluid token rate and DistServe's goodput, each by its definition."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.load.relatives import TpotSlo, andes_qoe, distserve_goodput, fluid_token_rate, fluidity_index
from serve.goodput import Ending, Timeline
from tests.serve.test_goodput import timeline_of, timelines

times = st.lists(st.floats(0, 30, allow_nan=False), min_size=1, max_size=12).map(sorted)


def test_andes_is_1_on_time_and_falls_with_delay() -> None:
    expected = [1.0, 1.5, 2.0, 2.5]
    assert andes_qoe(timeline_of(expected), ttft=1, speed=2) == 1
    assert andes_qoe(timeline_of([0.1] * 4), ttft=1, speed=2) == 1
    # One token, one second late: it is read from 2.0 to 2.5 where 1.0 to 2.5 was expected.
    assert andes_qoe(timeline_of([2.0]), ttft=1, speed=2) == pytest.approx(0.5 / 1.5)
    assert andes_qoe(timeline_of([], ended=1, ending=Ending.REJECTED), ttft=1, speed=2) == 0


@given(times, st.data())
def test_andes_stays_in_the_unit_interval(tokens: list[float], data: st.DataObject) -> None:
    quality = andes_qoe(
        timeline_of(tokens), ttft=data.draw(st.floats(0, 5)), speed=data.draw(st.floats(0.5, 20))
    )
    assert 0 <= quality <= 1 + 1e-12


@given(times, st.floats(0, 5), st.floats(0.5, 20))
def test_andes_is_the_area_after_what_can_be_read_over_the_area_after_what_was_expected(
    tokens: list[float], ttft: float, speed: float
) -> None:
    """Token by token: read when it is there, when it was expected, and when the one before it was read."""
    read = [-math.inf]
    expected = [ttft + i / speed for i in range(len(tokens))]
    for time, due in zip(tokens, expected, strict=True):
        read.append(max(time, due, read[-1] + 1 / speed))
    end = read[-1] + 1 / speed
    area = sum(end - at for at in read[1:]) / sum(end - due for due in expected)
    assert andes_qoe(timeline_of(tokens), ttft=ttft, speed=speed) == pytest.approx(area)


eighths = st.integers(1, 40).map(lambda n: n / 8)


@given(st.lists(eighths, max_size=12), eighths, eighths, st.none() | eighths)
def test_fluidity_is_a_walk_over_all_deadlines(
    gaps: list[float], prefill: float, decode: float, wait: float | None
) -> None:
    tokens = np.cumsum(gaps).tolist()
    if not tokens and wait is None:
        return
    kept = missed = 0
    due = prefill
    for time in tokens:
        if time <= due:
            kept, due = kept + 1, due + decode
            continue
        while due <= time:
            missed, due = missed + 1, due + decode
        due = time + decode
    ended = (tokens or [0.0])[-1] + (wait or 0.0)
    if wait is not None and due < ended:  # given up: what has passed by then was missed
        missed += sum(due + k * decode <= ended for k in range(int(ended / decode) + 1))
    timeline = timeline_of(tokens, ended=ended, ending=Ending.FINISHED if wait is None else Ending.DROPPED)
    expected = kept / (kept + missed) if kept + missed else 0
    assert fluidity_index(timeline, prefill=prefill, decode=decode) == expected


def test_fluidity_counts_a_stall_as_every_deadline_it_covers() -> None:
    steady = timeline_of([1.0, 1.5, 2.0, 2.5])
    assert fluidity_index(steady, prefill=1, decode=0.5) == 1
    stalled = timeline_of([1.0, 1.5, 3.2, 3.7])
    # The third is due at 2.0 and 1.2 late: 3 deadlines missed; then 3.7 is on time.
    assert fluidity_index(stalled, prefill=1, decode=0.5) == pytest.approx(3 / 6)
    dropped = timeline_of([1.0, 1.5], ended=3.2, ending=Ending.DROPPED)
    assert fluidity_index(dropped, prefill=1, decode=0.5) == pytest.approx(2 / 5)
    left = timeline_of([1.0, 1.5], ended=1.6, ending=Ending.CANCELLED)
    assert fluidity_index(left, prefill=1, decode=0.5) == 1
    assert fluidity_index(timeline_of([], ended=0.5, ending=Ending.CANCELLED), prefill=1, decode=0.5) == 0


def test_the_fluid_token_rate_of_a_steady_stream_is_its_rate() -> None:
    steady = timeline_of([1.0 + 0.1 * i for i in range(200)])
    assert fluid_token_rate([steady], prefill=1) == pytest.approx(10, rel=0.15)
    assert fluid_token_rate([timeline_of([], ended=1, ending=Ending.REJECTED)], prefill=1) == 0


def test_the_fluid_token_rate_is_that_of_the_slowest_of_the_share() -> None:
    fast, slow = (timeline_of([1.0 + i / rate for i in range(20)]) for rate in (10, 2))
    for share, rate in ((0.5, 10), (0.51, 2), (1.0, 2)):
        assert fluid_token_rate([fast, slow], prefill=1, share=share, index=1.0) == pytest.approx(
            rate, rel=2e-3
        )
    most = [fast] * 99 + [slow]
    assert fluid_token_rate(most, prefill=1, index=1.0) == pytest.approx(10, rel=2e-3)  # 99 of 100 by default
    assert fluid_token_rate(most[1:], prefill=1, index=1.0) == pytest.approx(2, rel=2e-3)


def test_the_fluid_token_rate_lies_between_a_thousandth_and_a_thousand() -> None:
    assert fluid_token_rate([timeline_of([0.1] * 5)], prefill=1) == pytest.approx(1000, rel=2e-3)
    assert fluid_token_rate([timeline_of([1.0, 501.0])], prefill=1, index=1.0) == pytest.approx(
        0.002, rel=2e-3
    )
    assert fluid_token_rate([timeline_of([1.0, 2001.0])], prefill=1, index=1.0) == 0
    tenth_late = timeline_of([*np.arange(1.0, 5.5, 0.5), 5.9])
    assert fluid_token_rate([tenth_late], prefill=1) == pytest.approx(2, rel=2e-3)  # nine of ten will do
    assert fluid_token_rate([tenth_late], prefill=1, index=0.91) < 1.9


@settings(max_examples=30)
@given(st.lists(timelines(), min_size=1, max_size=6), st.sampled_from([0.3, 0.5, 1.0]), st.floats(0.5, 1.0))
def test_the_fluid_token_rate_is_where_the_share_is_lost(
    all_: list[Timeline], share: float, index: float
) -> None:
    def enough(rate: float) -> bool:
        reached = [fluidity_index(t, prefill=1.0, decode=1 / rate) >= index for t in all_]
        return sum(reached) >= share * len(all_)

    rate = fluid_token_rate(all_, prefill=1.0, share=share, index=index)
    assert enough(rate) if rate else not enough(0.001)
    if 0 < rate < 999:
        assert not all(enough(rate * f) for f in np.linspace(1, 1.0011, 12))


def test_distserve_goodput_interpolates_the_crossing() -> None:
    good, bad = timeline_of([0.1, 0.2]), timeline_of([5.0, 9.0])
    runs = {0: [good] * 10, 1: [good] * 8 + [bad] * 2}
    assert distserve_goodput([1.0, 2.0], runs.__getitem__, TpotSlo(1, 1)) == pytest.approx(1.5)
    runs = {0: [good] * 95 + [bad] * 5, 1: [good] * 90 + [bad] * 10, 2: [good] * 70 + [bad] * 30}
    assert distserve_goodput([1, 3, 7], runs.__getitem__, TpotSlo(1, 1)) == 3.0  # 90 % still hold
    assert distserve_goodput([1, 3, 7], runs.__getitem__, TpotSlo(1, 1), 0.85) == pytest.approx(4.0)
    assert distserve_goodput([], runs.__getitem__, TpotSlo(1, 1)) == 0.0
    assert distserve_goodput([1.0], lambda k: runs[0], TpotSlo(1, 1)) == 1.0
    assert distserve_goodput([1.0], lambda k: runs[2], TpotSlo(1, 1)) == 0.0
