"""``python -m benchmarks.llama_server JSON``: llama.cpp's server through the package `xllamacpp`, until stdin ends.

Each server has a process of its own. OpenMP's threads wait differently where one process has several teams.
The first line on stdout is JSON: the server's address, the package's version, and what llama.cpp says of the processor.
"""

from __future__ import annotations

import importlib
import json
import sys
from typing import Any

PACKAGE = "xllamacpp"


def choose(llama: Any, params: Any, kind: str, match: int | None = None, draft: int | None = None) -> None:
    """Choose a kind of speculation; without sizes it has llama.cpp's own."""
    name = kind.replace("-", "_")
    params.speculative.types = [
        getattr(llama.common_speculative_type, f"COMMON_SPECULATIVE_TYPE_{name.upper()}")
    ]
    own = getattr(params.speculative, name)
    if match and kind == "ngram-mod":
        own.n_match, own.n_min, own.n_max = match, 1, draft
    elif match:
        own.size_n, own.size_m = match, draft


def start(
    model: str, threads: int, slots: int, context: int, speculation: tuple[Any, ...] | None
) -> tuple[Any, dict[str, str]]:
    """A running server, and what the parent is told of it."""
    llama = importlib.import_module(PACKAGE)
    params = llama.CommonParams()
    params.model.path = model
    params.n_parallel, params.n_ctx, params.verbosity = slots, slots * context, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
    if speculation:
        choose(llama, params, *speculation)
    server = llama.Server(params)
    about = {"url": server.listening_address, "version": llama.__version__, "built": llama.get_system_info()}
    return server, about


if __name__ == "__main__":
    running, told = start(**json.loads(sys.argv[1]))
    sys.stdout.write(json.dumps(told) + "\n")
    sys.stdout.flush()
    sys.stdin.read()
