"""Settings of Echo."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EchoConfig:
    """Settings of Echo; an ablation can switch each part off.

    Token i of an interactive request is due ``allowance_s + pace_s * i`` after its arrival (Eq. 5 of smooth goodput
    with a tolerated response delay). Batch work keeps each reader ``reserve * allowance_s`` ahead of that. A reader
    with less in hand gains at least ``1 - recover`` of the pace with each token. So a step that lasts longer than
    forecast makes nobody late, and the prompts of a burst get full steps (docs/results/echo.md). `tolerance` of a
    step's time stays unused. `neighbours` bounds how many batch requests one step adds or pauses. `omega` weighs prompt
    tokens that the cache saves against new ones. A batch request that waits longer than `max_wait_s` goes first. No
    planned step exceeds `longest_step_s`, because a request may arrive at any time. If a reader's token is late even
    without batch work, that work may lengthen the step by `late_share`. A few more decodes cost little, and so an
    overload does not stop batch work.
    """

    pace_s: float = 0.2
    allowance_s: float = 1.0
    reserve: float = 1.5
    recover: float = 0.5
    tolerance: float = 0.05
    neighbours: int = 8
    omega: float = 1.0
    max_wait_s: float = 600.0
    longest_step_s: float = 0.5
    late_share: float = 0.1
    budget: bool = True
    group_prefixes: bool = True
