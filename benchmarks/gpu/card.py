"""Which card, and its two ceilings: bytes and multiplications a second."""

from __future__ import annotations

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version

import torch

from benchmarks.gpu.record import Record


def median_ms(run: Callable[[], object], device: str, *, budget_s: float = 0.3, most: int = 200) -> float:
    """Median milliseconds of a call, by events on a GPU; after warm-up, for about `budget_s`."""
    for _ in range(2):
        run()
    times: list[float] = []
    if device != "cuda":
        began = time.perf_counter()
        while len(times) < 3 or (time.perf_counter() - began < budget_s and len(times) < most):
            at = time.perf_counter()
            run()
            times.append(1e3 * (time.perf_counter() - at))
        return statistics.median(times)
    torch.cuda.synchronize()
    at = time.perf_counter()
    run()
    torch.cuda.synchronize()
    repeats = int(min(most, max(5, budget_s / max(time.perf_counter() - at, 1e-5))))
    events = [
        [torch.cuda.Event(enable_timing=True) for _ in range(2)]  # type: ignore[no-untyped-call]
        for _ in range(repeats)
    ]
    for begin, end in events:
        begin.record()
        run()
        end.record()
    torch.cuda.synchronize()
    return float(statistics.median(begin.elapsed_time(end) for begin, end in events))


def run(chosen: argparse.Namespace, record: Record, until: float) -> None:
    """Print versions, and measure a copy and a product."""
    del until
    versions = {"python": platform.python_version(), "torch": torch.__version__}
    for name in ("triton", "transformers", "numba", "gguf"):
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "missing"
    if chosen.device == "cuda":
        card = torch.cuda.get_device_properties(0)
        versions |= {"card": card.name, "GiB": f"{card.total_memory / 2**30:.0f}"}
        versions |= {"multiprocessors": str(card.multi_processor_count), "cuda": str(torch.version.cuda)}
    record.row("versions", **versions)
    big = chosen.device == "cuda"
    size = 8192 if big else 256
    source = torch.randn(2**30 if big else 2**20, device=chosen.device)
    target = torch.empty_like(source)
    ms = median_ms(lambda: target.copy_(source), chosen.device)
    a, b = (torch.randn(size, size, device=chosen.device, dtype=torch.bfloat16) for _ in range(2))
    product = median_ms(lambda: a @ b, chosen.device)
    record.row(
        "ceilings",
        copied_TB_s=round(2 * source.nbytes / ms / 1e9, 3),
        product_bf16_TFLOP_s=round(2 * size**3 / product / 1e9, 1),
    )
