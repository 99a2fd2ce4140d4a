"""Smooth goodput by windows, and the settings of plugins."""

import numpy as np
import pytest

from benchmarks.load.generator import read_run
from serve.errors import InputError
from serve.goodput import Ending, SmoothGoodput, Timeline
from serve.vllm_plugins.settings import read_settings
from serve.vllm_plugins.windows import Windows, WindowSettings

SETTINGS = WindowSettings(window_s=10.0, drain_s=5.0)


def test_a_window_holds_the_requests_that_were_committed_in_it():
    windows = Windows(SETTINGS)
    windows.committed("a", 100.0, offline=False)
    windows.delivered("a", 3, 100.5)
    windows.delivered("a", 1, 112.0)  # its last token comes after the window's end
    windows.committed("b", 111.0, offline=False)
    windows.ended("a", Ending.FINISHED, 112.0)
    (report,) = windows.close(112.5)
    one = Timeline("a", 100.0, (100.5, 100.5, 100.5, 112.0), 112.0)
    assert report.requests == 1
    assert report.smooth_goodput == SETTINGS.measure([one], 10.0)
    assert report.tokens_s == 0.4


def test_a_window_waits_for_its_requests_but_not_for_ever():
    windows = Windows(SETTINGS)
    windows.committed("a", 0.0, offline=False)
    assert windows.close(14.9) == []
    (report,) = windows.close(15.0)
    assert report.smooth_goodput == SETTINGS.measure([Timeline("a", 0.0, (), 15.0, Ending.UNFINISHED)], 10.0)
    assert report.attainment == 0.0


def test_batch_tokens_count_in_the_window_they_left_in():
    windows = Windows(SETTINGS)
    windows.committed("batch", 0.0, offline=True)
    windows.delivered("batch", 5, 3.0)
    windows.delivered("batch", 7, 12.0)
    windows.ended("batch", Ending.FINISHED, 12.0)
    assert [r.offline_tokens_s for r in windows.close(20.0)] == [0.5, 0.7]
    assert [r.requests for r in windows.close(40.0)] == []


def test_what_was_cancelled_stays_cancelled_and_late_tokens_are_nobodys():
    windows = Windows(SETTINGS)
    windows.committed("a", 0.0, offline=False)
    windows.delivered("a", 1, 1.0)
    windows.ended("a", Ending.CANCELLED, 2.0)
    windows.delivered("a", 1, 3.0)
    windows.ended("a", Ending.FINISHED, 3.0)
    (report,) = windows.close(10.0)
    assert report.tokens_s == 0.1


@pytest.mark.parametrize("seed", range(10))
def test_the_reports_agree_with_the_timelines_that_were_written(tmp_path, seed):
    rng = np.random.default_rng(seed)
    path = tmp_path / "times.jsonl"
    settings = WindowSettings(window_s=10.0, drain_s=100.0, timelines=str(path))
    windows = Windows(settings)
    for i, at in enumerate(np.sort(rng.uniform(0, 30, 20))):
        windows.committed(f"r{i}", at, offline=False)
        times = at + np.cumsum(rng.exponential(0.3, rng.integers(0, 30)))
        for time in times:
            windows.delivered(f"r{i}", 1, time)
        windows.ended(f"r{i}", Ending.FINISHED, times[-1] if len(times) else at + 1.0)
    reports = windows.close(200.0)
    timelines, _ = read_run(path)
    assert sum(r.requests for r in reports) == len(timelines) == 20
    total = SmoothGoodput(settings.measure.slo)(timelines, 10.0)
    assert sum(r.smooth_goodput for r in reports) == pytest.approx(total)


def test_settings_are_read_from_one_line():
    read = read_settings(WindowSettings, "pace_s=0.5, timelines=/x/y.jsonl", "VCKG_GOODPUT")
    assert read == WindowSettings(pace_s=0.5, timelines="/x/y.jsonl")


@pytest.mark.parametrize("text", ["speed=3", "pace_s=fast", "pace_s"])
def test_a_setting_that_cannot_be_read_is_named(text):
    with pytest.raises(InputError, match=r"VCKG_GOODPUT.*(pace_s|speed)"):
        read_settings(WindowSettings, text, "VCKG_GOODPUT")
