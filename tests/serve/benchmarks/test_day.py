"""A day in the life, in seconds: a real server of a tiny model, a program with batch prompts, readers beside it."""

import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import numpy as np
import pytest

from benchmarks.mixed_day import Seen, Setting, bursts, page, run
from benchmarks.mixed_day_picture import BLUE, RED, draw
from serve.errors import InputError
from serve.goodput import Ending, ReadingSlo, Timeline
from tests.serve.conftest import save_tiny

ASK = """
import sys, httpx
url, model = sys.argv[1:]
for i in range(500):
    said = [{"role": "user", "content": f"batch prompt {i}"}]
    body = {"model": model, "messages": said, "max_tokens": 5, "service_tier": "flex"}
    httpx.post(url + "/chat/completions", json=body, timeout=60).raise_for_status()
"""


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    path = tmp_path / "readers.jsonl"
    path.write_text('{"workload": "chat", "messages": [{"role": "user", "content": "Hello?"}]}\n')
    return path


def test_readers_and_batch_prompts_are_both_answered_and_told_apart(prompts: Path, tmp_path: Path) -> None:
    setting = Setting(
        seconds=5.0, rate=3.0, tokens=6, tail_s=3.0, model=save_tiny(tmp_path / "model"), pace_s=2.0
    )
    command = [sys.executable, "-c", ASK, "{url}", "{model}"]
    lines, seen = run(setting, command, prompts)
    assert lines
    assert all(t.ending is Ending.FINISHED and 0 < len(t.token_s) <= 6 for t in lines)
    assert all(0 <= t.committed_s <= t.token_s[0] <= t.ended_s <= 5.5 for t in lines)
    assert seen.grown("finished") > len(lines)  # the rest are batch prompts
    said = page(setting, command, lines, seen, "day.svg")
    assert f"| interactive requests | {len(lines)}, of which {len(lines)} were answered to the end |" in said
    assert f"| batch prompts answered | {seen.grown('finished') - len(lines):.0f} |" in said
    assert "| requests with every token in time | 100 % |" in said


def test_a_program_that_asks_nothing_and_a_server_that_does_not_start_are_named(
    prompts: Path, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=r"did not come up: .*no such file or folder"):
        run(Setting(model=tmp_path / "absent"), ["true"], prompts)
    model = save_tiny(tmp_path / "model")
    with pytest.raises(InputError, match="no prompt came: nothing to do"):
        run(Setting(model=model), [sys.executable, "-c", "print('nothing to do')"], prompts)


def test_bursts_come_four_times_as_dense_in_every_other_half_minute() -> None:
    times = bursts(np.random.default_rng(0), 2.0, 6000.0)
    busy = (times // 30).astype(int) % 2 == 1
    assert np.all(np.diff(times) >= 0)
    assert len(times) / 6000 == pytest.approx(2.0, rel=0.05)
    assert busy.mean() == pytest.approx(0.8, abs=0.02)
    assert len(bursts(np.random.default_rng(0), 0.001, 1.0)) == 1  # a day has a reader


def test_the_picture_is_red_where_a_token_is_late_and_shows_what_the_counters_grew_by() -> None:
    slo = ReadingSlo(0.5, 1.0)
    lines = [
        Timeline("in time", 0.0, (1.0, 1.9), 1.9, Ending.FINISHED),
        Timeline("late", 1.0, (2.4, 3.5), 3.5, Ending.FINISHED),
    ]
    counters = [
        {"prefill_rows_total": x, "output_tokens_total": y} for x, y in ((0, 0), (400, 10), (400, 30))
    ]
    drawn = draw(lines, [0.0, 2.0, 4.0], counters, slo)
    root = ET.fromstring(drawn)
    colours = [c.get("fill") for c in root.iter("{http://www.w3.org/2000/svg}circle")]
    assert (colours.count(BLUE), colours.count(RED)) == (3, 1)
    assert ">200</text>" in drawn  # the top of the lower half: 400 prompt tokens in 2 s
    seen = Seen([0.0, 2.0, 4.0], counters)
    assert seen.grown("output_tokens_total") == 30
    assert seen.grown("preemptions_total") == 0
