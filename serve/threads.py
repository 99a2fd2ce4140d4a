"""How the CPU's threads behave; must be decided before torch is loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

SPINS = "3000"
"""Rounds an idle OpenMP thread spins before it sleeps: about a sixth of a millisecond.

Between two matrix products of a layer lies less than that, and waking a thread costs a third of it. With more rounds a
machine that does nothing else is faster still (`GOMP_SPINCOUNT=10000`), and one that does is slower: torch's and
numba's threads take turns within a step, and one that spins burns the core the other needs.
"""


def use_threads(threads: int | None) -> None:
    """Load torch with `threads` CPU threads (None: its default, all cores)."""
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    import torch

    if threads is not None:
        torch.set_num_threads(threads)


@contextmanager
def one_thread() -> Iterator[None]:
    """Let torch run on this thread alone meanwhile, so that OpenMP starts no workers for it.

    Every thread that runs OpenMP loops keeps workers of its own. With more workers than cores they sleep at once where
    they wait. So a server loads on one thread, and the model runs on the engine's thread only.
    """
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
