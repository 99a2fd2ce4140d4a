"""The first sentence of the page says what the tests allow: for a table, a tie, one contestant, an open book."""

from collections.abc import Callable

import pytest

from arena.leaderboard.build import build
from arena.report.view import GroupView
from arena.types import Run


@pytest.mark.parametrize(
    ("field", "sentence"),
    [
        ({"a": 0.5}, "a is the only contestant, so nothing can be compared."),
        (
            {"a": 0.5, "b": 0.5},
            "On “Answer questions” with 40 samples the two contestants cannot be told apart.",
        ),
        (
            {"a": 0.95, "b": 0.1, "c": 0.1},
            "On “Answer questions” with 40 samples a scores higher than every other contestant.",
        ),
        (
            {"gather": 1.0, "a": 0.95, "b": 0.1},
            "On “Answer questions” with 40 samples a scores higher than every other ranked contestant.",
        ),
        (
            {"gather": 1.0, "a": 0.95},
            "On “Answer questions” with 40 samples there is nobody to compare.",
        ),
    ],
)
def test_the_first_sentence(
    field: dict[str, float], sentence: str, make_runs: Callable[..., list[Run]]
) -> None:
    group = build(make_runs(field, tasks=("qa",), judges=()), resamples=500).groups[0]
    assert GroupView(group).conclusion == sentence
