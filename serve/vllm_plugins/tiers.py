"""OpenAI's `service_tier` for vLLM, which keeps the field of a request without using it."""

from __future__ import annotations

import functools
from typing import Any

BATCH_TIER = "flex"


def read_tier(request_type: Any) -> None:
    """Let a class of requests with `service_tier` "flex" reach the scheduler as batch work.

    It becomes the extra argument ``"class": "offline"``, which means nothing to other schedulers than Echo; one that
    the body itself has stays.
    """
    convert = request_type.to_sampling_params
    if getattr(convert, "reads_tier", False):
        return

    @functools.wraps(convert)
    def converted(self: Any, *args: Any, **kwargs: Any) -> Any:
        params = convert(self, *args, **kwargs)
        if getattr(self, "service_tier", None) == BATCH_TIER:  # vLLM keeps a field it does not know
            params.extra_args = {"class": "offline", **(params.extra_args or {})}
        return params

    converted.reads_tier = True  # type: ignore[attr-defined]
    request_type.to_sampling_params = converted
