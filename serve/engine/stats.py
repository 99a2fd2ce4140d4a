"""Counters of an engine."""

from __future__ import annotations

from dataclasses import dataclass, field

from serve.request import FinishReason


@dataclass(slots=True)
class EngineStats:
    """Counters since the engine started. `decode_forwards` counts each request's passes after its prefill."""

    steps: int = 0
    prompt_tokens: int = 0
    cached_tokens: int = 0
    prefill_rows: int = 0
    output_tokens: int = 0
    decode_forwards: int = 0
    drafted: int = 0
    accepted: int = 0
    draft_s: float = 0.0
    forward_s: float = 0.0
    choose_s: float = 0.0
    finished: dict[FinishReason, int] = field(default_factory=lambda: dict.fromkeys(FinishReason, 0))

    def count(self, drafted: int, prefill_rows: int, times: tuple[float, float, float, float]) -> None:
        """Add a step; `times` are its start and the ends of drafting, forward and choice, in seconds."""
        self.steps += 1
        self.drafted += drafted
        self.prefill_rows += prefill_rows
        self.draft_s += times[1] - times[0]
        self.forward_s += times[2] - times[1]
        self.choose_s += times[3] - times[2]
