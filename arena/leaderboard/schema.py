"""The leaderboard as data: what the page, the Markdown and the JSON are all written from.

Numbers are plain floats rounded to six digits, and None where nothing was scored; never NaN.
"""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict

from arena.types import Kind, TaskName

CANARY: Final = (
    "vckg-arena canary 5b1d7c1e-3f0a-4f6e-9c57-2f0e6a1d8b43: benchmark data, keep out of training corpora"
)
"""Printed in every report, so that a corpus that holds one can be recognised."""


class Part(BaseModel):
    """A piece of the leaderboard."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Estimate(Part):
    """A mean with its 95 % interval over `n` samples."""

    value: float | None
    low: float | None
    high: float | None
    n: int


class Rank(Part):
    """Best and worst place a contestant can hold; equal ends mean it is settled."""

    best: int
    worst: int


class Rate(Part):
    """A share with its Wilson interval."""

    count: int
    n: int
    share: float | None
    low: float | None
    high: float | None


class Cost(Part):
    """What answering took; list price counts cached replies too, fresh does not. Per 100 samples."""

    input_tokens: float | None
    """None for a program, which reads no tokens."""
    output_tokens: float | None
    list_usd: float | None
    fresh_usd: float | None
    latency_median_s: float | None
    """Of replies that did not come from the cache."""
    frontier: bool = False
    """No other contestant is both cheaper and better."""


class JudgeCell(Part):
    """One judge's totals on one contestant's answers to one task."""

    total: Estimate
    unscored: int
    repaired: int


class Cell(Part):
    """One contestant on one task."""

    score: Estimate
    """The task's main dimension."""
    rank: Rank | None
    """None for the ceiling, who stands apart, and who is alone."""
    metrics: dict[str, Estimate]
    judges: dict[str, JudgeCell]
    answered: int
    format_failures: Rate
    refusals: Rate
    failed_calls: int

    @property
    def replied(self) -> int:
        """Replies with an answer that could be read."""
        return self.format_failures.n - self.format_failures.count - self.refusals.count


class Row(Part):
    """One contestant of a group."""

    name: str
    kind: Kind
    open_book: bool
    """It reads the graph that samples of this group were made from, and may find answers in it."""
    served: tuple[str, ...]
    """Model ids the endpoint named."""
    overall: Estimate | None
    """Mean win rate over the tasks on which two or more are ranked; None for who lacks one of them."""
    rank: Rank | None
    tied_with_above: bool
    """The interval of the difference in win rate to the row above holds 0."""
    tasks: dict[TaskName, Cell]
    cost: Cost


class Pair(Part):
    """Two contestants compared on the samples that both have scored."""

    first: str
    second: str
    difference: float | None
    """Of the means, first minus second."""
    low: float | None
    high: float | None
    p: float | None
    p_holm: float | None
    detectable: float | None
    """Smallest true difference found with 80 % power."""
    common: int
    win_rate: float | None = None
    """Share of samples the first does better on, ties one half."""
    mcnemar_p: float | None = None
    """On exact hits, where the task has them."""


class Stratum(Part):
    """One level of a breakdown."""

    key: str
    level: str
    n: int
    scores: dict[str, Estimate]


class Agreement(Part):
    """How far two raters of the same answers agree."""

    first: str
    second: str
    n: int
    kappa: float | None
    alpha: float | None
    spearman: float | None
    exact: float | None
    within_one: float | None


class JudgeTrust(Part):
    """What is known about one judge from the answers it rated."""

    judge: str
    rated: int
    unscored: int
    repaired: int
    refused_citations: int
    """Citations of evidence that does not exist or does not say so."""
    spread: float | None
    """Mean standard deviation of the total over repeats of one answer."""
    length_effect: Estimate
    """Points of total per doubling of an answer's words, the deterministic score held fixed."""
    same_family: tuple[str, ...]
    """Contestants that share a model family with the judge."""


class TaskBoard(Part):
    """Everything about one task of a group except the cells."""

    task: TaskName
    headline: str
    made_from_graph: bool
    """Its questions were made from the graph: open book for contestants that read the graph."""
    fingerprint: str
    prompt: str
    n: int
    clusters: int
    effective_clusters: float
    floor: float | None
    """Score of the best trivial baseline; None where none was run."""
    floor_of: str
    """Its name; empty where none was run."""
    reliability: float | None
    """Split-half, stepped up: how well the samples order these contestants."""
    detectable: float | None
    """Median over pairs of the smallest difference found with 80 % power."""
    pairs: tuple[Pair, ...]
    effects: tuple[Pair, ...]
    """A model with evidence or tools against the same model without, each test by itself."""
    over_floor: tuple[Pair, ...]
    """Each model against the best trivial baseline, each test by itself."""
    strength: dict[str, float]
    """Bradley-Terry, as the chance to beat an average contestant; derived from scores, not from
    preference."""
    strata: tuple[Stratum, ...]
    agreement: tuple[Agreement, ...]
    trust: tuple[JudgeTrust, ...]


class AnswerView(Part):
    """One answer as the drill-down shows it."""

    text: str
    scores: dict[str, float | None]
    reason: str
    judged: dict[str, str] = {}
    """Rationale by judge."""
    cited: dict[str, list[dict[str, str]]] = {}


class SampleView(Part):
    """One sample with all answers to it, texts cut."""

    id: str
    task: TaskName
    strata: dict[str, str]
    prompt: str
    reference: str
    answers: dict[str, AnswerView]


class Scores(Part):
    """Main score of every sample, in whole percent, -1 for unscored: one list a contestant."""

    task: TaskName
    samples: tuple[str, ...]
    percent: dict[str, tuple[int, ...]]


class Provenance(Part):
    """One run that entered."""

    contestant: str
    folder: str
    tasks: tuple[TaskName, ...]
    dataset: str
    seed: int
    limit: int | None
    epochs: int
    arena_version: str
    engine: str
    git_sha: str
    command: str
    created: str
    judges: tuple[str, ...]
    prompts: dict[str, str]
    samples_sha256: dict[str, str]
    model_args: dict[str, Any]


class Group(Part):
    """Contestants that met the same samples, prompts and graph."""

    id: str
    dataset: str
    graph_hash: str
    rows: tuple[Row, ...]
    """By overall, then by the number of tasks and the mean score; the ceiling first."""
    tasks: tuple[TaskBoard, ...]
    judges: tuple[str, ...]
    notes: tuple[str, ...]
    runs: tuple[Provenance, ...]
    scores: tuple[Scores, ...]
    samples: tuple[SampleView, ...]
    samples_shown: int
    samples_total: int


class Leaderboard(Part):
    """One or more groups of runs, counted."""

    format: Literal["vckg-arena-leaderboard"] = "vckg-arena-leaderboard"
    version: Literal[3] = 3
    canary: str = CANARY
    seed: int
    resamples: int
    graph: str
    groups: tuple[Group, ...]

    def to_json(self) -> str:
        """The whole leaderboard; the same runs give the same bytes."""
        return self.model_dump_json(indent=1) + "\n"
