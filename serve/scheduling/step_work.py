"""Work of one engine step in tokens: schedulers plan with it, and time models predict from it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class StepWork:
    """The work of one step, in tokens. `prefill_context` sums rows x context length over prompt chunks."""

    prefill_tokens: int = 0
    prefill_context: int = 0
    decodes: int = 0
    decode_context: int = 0
    prefills: int = 0

    def __add__(self, other: StepWork) -> StepWork:
        return StepWork(
            self.prefill_tokens + other.prefill_tokens,
            self.prefill_context + other.prefill_context,
            self.decodes + other.decodes,
            self.decode_context + other.decode_context,
            self.prefills + other.prefills,
        )

    @classmethod
    def decode(cls, context: int) -> StepWork:
        """One decoding request with `context` tokens in the cache."""
        return cls(decodes=1, decode_context=context)

    @classmethod
    def chunk(cls, rows: int, context: int) -> StepWork:
        """`rows` prompt tokens after `context` computed ones; each row sees half of its own chunk on average."""
        return cls(prefill_tokens=rows, prefill_context=rows * (context + (rows + 1) // 2), prefills=1)

    @property
    def features(self) -> Float64:
        """The regressors, the constant first; float64[6]."""
        parts = (self.prefill_tokens, self.prefill_context, self.decodes, self.decode_context, self.prefills)
        return np.array([1.0 if any(parts) else 0.0, *parts], np.float64)
