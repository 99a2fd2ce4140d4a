"""Smooth goodput of a running server, window by window, from when its tokens left for their clients. No vLLM here."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from serve.goodput import (
    Ending,
    LinearPenalty,
    ReadingSlo,
    SmoothGoodput,
    Timeline,
    attainment,
    throughput,
)


@dataclass(frozen=True, slots=True)
class WindowSettings:
    """What is measured.

    Token i is due ``allowance_s + pace_s * i`` after its request was committed; `alpha` is the price of waiting (Eq. 10
    of smooth goodput, with the linear penalty). Windows are `window_s` long; a request belongs to the one it was
    committed in. A window is reported when all its interactive requests ended, or `drain_s` after its end: what is open
    then counts as unfinished. `timelines` names a file to which every request's times are appended.
    """

    pace_s: float = 0.2
    allowance_s: float = 1.0
    alpha: float = 2.5
    window_s: float = 60.0
    drain_s: float = 60.0
    timelines: str = ""

    @property
    def measure(self) -> SmoothGoodput:
        """The measure of smooth goodput with these settings."""
        return SmoothGoodput(
            ReadingSlo(self.pace_s, self.allowance_s), LinearPenalty(self.pace_s), self.alpha
        )


@dataclass(frozen=True, slots=True)
class Report:
    """One window: its interactive requests, their smooth goodput and attainment, and the batch tokens that left."""

    seconds: float
    requests: int
    smooth_goodput: float
    attainment: float
    tokens_s: float
    offline_tokens_s: float

    def __str__(self) -> str:
        return (
            f"smooth goodput {self.smooth_goodput:.2f} tokens/s of {self.tokens_s:.2f}, "
            f"{100 * self.attainment:.0f} % of {self.requests} interactive requests in time, "
            f"batch work {self.offline_tokens_s:.2f} tokens/s, over {self.seconds:g} s"
        )


@dataclass(slots=True)
class _Open:
    """An interactive request whose window is not reported."""

    committed_s: float
    token_s: list[float] = field(default_factory=list)
    ended_s: float | None = None
    ending: Ending = Ending.UNFINISHED

    def timeline(self, name: str, now: float) -> Timeline:
        """As of now; one without a token was dropped, whatever the engine called it."""
        ended = max([now if self.ended_s is None else self.ended_s, self.committed_s, *self.token_s[-1:]])
        ending = self.ending
        if ending is Ending.FINISHED and not self.token_s:
            ending = Ending.DROPPED
        return Timeline(name, self.committed_s, tuple(self.token_s), ended, ending)


class Windows:
    """Collects requests and closes windows. The first window begins with the first request."""

    def __init__(self, settings: WindowSettings) -> None:
        self.settings = settings
        self._start: float | None = None
        self._requests: dict[str, _Open] = {}
        self._batch: set[str] = set()
        self._batch_tokens: list[tuple[float, int]] = []

    def committed(self, name: str, time_s: float, *, offline: bool) -> None:
        """A request arrived."""
        if self._start is None:
            self._start = time_s
        if offline:
            self._batch.add(name)
        else:
            self._requests[name] = _Open(time_s)

    def delivered(self, name: str, tokens: int, time_s: float) -> None:
        """Tokens of a request left for its client, all at once."""
        if name in self._batch:
            self._batch_tokens.append((time_s, tokens))
        request = self._requests.get(name)
        if request is not None and request.ended_s is None:
            time_s = max([time_s, request.committed_s, *request.token_s[-1:]])  # a wall clock may be set back
            request.token_s += [time_s] * tokens

    def ended(self, name: str, ending: Ending, time_s: float) -> None:
        """A request ended."""
        self._batch.discard(name)
        request = self._requests.get(name)
        if request is not None and request.ended_s is None:
            finished = ending is Ending.FINISHED and request.token_s
            request.ended_s, request.ending = (request.token_s[-1] if finished else time_s), ending

    def close(self, now: float) -> list[Report]:
        """Reports of the windows that can be closed, in order; of windows in which nothing happened there is none."""
        reports = []
        length = self.settings.window_s
        while self._start is not None and now >= (end := self._start + length):
            inside = {n: r for n, r in self._requests.items() if r.committed_s < end}
            if any(r.ended_s is None for r in inside.values()) and now < end + self.settings.drain_s:
                break
            batch = sum(n for time_s, n in self._batch_tokens if time_s < end)
            if inside or batch:
                reports.append(self._report(inside, batch, now))
            for name in inside:
                del self._requests[name]
            self._batch_tokens = [(time_s, n) for time_s, n in self._batch_tokens if time_s >= end]
            # A quiet server waits for its next request; a busy one goes on window by window.
            self._start = end if self._requests or self._batch or self._batch_tokens else None
        return reports

    def _report(self, inside: dict[str, _Open], batch: int, now: float) -> Report:
        s = self.settings
        timelines = [r.timeline(n, now) for n, r in inside.items()]
        if s.timelines:
            append_timelines(Path(s.timelines), timelines, s)
        return Report(
            s.window_s,
            len(timelines),
            s.measure(timelines, s.window_s),
            attainment(timelines, s.measure.slo) if timelines else 1.0,
            throughput(timelines, s.window_s),
            batch / s.window_s,
        )


def append_timelines(path: Path, timelines: Sequence[Timeline], settings: WindowSettings) -> None:
    """Append a line a request to a JSONL file, in the form of `benchmarks.load`; it begins with the settings."""
    with path.open("a", encoding="utf-8") as file:
        if not file.tell():
            file.write(json.dumps({"settings": asdict(settings)}) + "\n")
        file.writelines(json.dumps(asdict(t)) + "\n" for t in timelines)
