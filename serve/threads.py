"""How the CPU's threads behave; must be decided before torch is loaded."""

from __future__ import annotations

import os

SPINS = "1000"
"""Rounds an idle OpenMP thread spins before it sleeps.

torch's and numba's OpenMP pools take turns within one step. With the default (spin for milliseconds) each burns the
cores the other needs as soon as the machine does anything else.
"""


def use_threads(threads: int | None) -> None:
    """Load torch with `threads` CPU threads (None: its default, all cores)."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
