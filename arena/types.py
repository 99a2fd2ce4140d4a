"""Records of the arena: `Sample` -> `Answer` -> `Score`, and the manifest of their run.

The types know nothing of the run engine. A task makes samples, a contestant answers, metrics and judges give
scores, the leaderboard counts. Everything is keyed by ``sample_id``; nothing is ever paired by position.

The keys of ``Sample.fields`` (what metrics, judges and non-LLM contestants read besides the prompt), of
``Sample.gold`` (hidden from contestants) and of ``Answer.parsed`` are declared by each task: `Fields`, `Gold` and
`Parsed` in ``arena/tasks/TASK.py``.

Missing values are the empty string or the empty list, never an absent key. ``effect`` of a perturbation is
``"activation"``, ``"knockdown"`` or the free words of its source.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Annotated, Any, ClassVar, Final, Literal, Protocol

from pydantic import ConfigDict, Field, ValidationError

TaskName = str
"""A name of `arena.tasks.TASK_TABLE`."""

Kind = Literal[
    "model", "retrieval", "retrieval+model", "model+tools", "baseline", "trivial", "ceiling", "replay"
]
"""What a contestant is; ``trivial`` knows nothing of the cell, and the ``ceiling`` is the reference itself."""

RUN_FORMAT: Final = "vckg-arena-run"
RUN_VERSION: Final = 1

OFFICIAL: Final = "official"
"""Key of `Sample.variables` that holds a whole prompt in SC-Arena's words."""

CLOSED: Final = ConfigDict(extra="forbid", strict=True)
"""Configuration of records that are read from files: no unknown keys, no conversion of types."""
Count = Annotated[int, Field(ge=0, le=10**12)]


@dataclass(frozen=True, slots=True)
class Sample:
    """One question put to a contestant, with what is needed to judge the answer."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    id: str
    """Stable and unique within a data set and task, e.g. ``"sc-arena/annotation/CL:0000895"``."""
    task: TaskName
    variables: Mapping[str, str]
    """Fills the task's prompt; all the contestant sees is the prompt made of these."""
    gold: Mapping[str, Any]
    """The reference, by task (see the module); JSON values only."""
    fields: Mapping[str, Any]
    """What metrics, judges and non-LLM contestants may read, by task (see the module); JSON values only."""
    cluster: str
    """Unit of the cluster bootstrap: paper (QA), CL lineage (cells), perturbed gene (perturbation)."""
    strata: Mapping[str, str]
    """Breakdowns of the leaderboard, the same keys on every sample of a task; e.g. ``{"tissue": "lung"}``."""
    provenance: Mapping[str, Any]
    """Source: data set, file, row, release, publications, seed."""


@dataclass(frozen=True, slots=True)
class Usage:
    """Tokens and money of one answer or judgement. A cached call spends nothing but keeps its list price."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    input_tokens: Count = 0
    output_tokens: Count = 0
    cached: bool = False
    """The reply is from the cache: the tokens are those of the original call."""
    cost_usd: float | None = None
    """List price of the call; None where no price is known."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What a contestant replied to one sample in one epoch."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    sample_id: str
    contestant: str
    task: TaskName
    text: str
    """The reply without the model's thinking; "" where the call failed (`error` says why)."""
    parsed: Mapping[str, Any] | None
    """The bound answer by task (see the module); None where the reply has none (`format_ok` is False)."""
    format_ok: bool
    refused: bool
    usage: Usage = field(default_factory=Usage)
    latency_s: float = 0.0
    epoch: int = 1
    model: str = ""
    """The id the endpoint says it served."""
    error: str = ""
    prompt: str = ""
    """The prompt exactly as sent, for the drill-down."""

    @property
    def without_reading(self) -> tuple[float | None, str] | None:
        """Value and reason of an answer that needs no look: unscored after a failed call, else 0; None for the rest."""
        if self.error:
            return None, f"call failed: {self.error}"
        if self.parsed is None:
            return 0.0, "refused" if self.refused else "no answer in the reply"
        return None


@dataclass(frozen=True, slots=True)
class Score:
    """One value of one dimension, given to one answer by one scorer (a metric or a judge)."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    sample_id: str
    contestant: str
    task: TaskName
    scorer: str
    """``"metrics"`` (deterministic columns), ``"knowledge"`` (deterministic judge), or the judge's model."""
    dimension: str
    """Name of the metric or of the rubric's dimension; ``"total"`` for a judge's weighted total, in 0..1."""
    value: Annotated[float, Field(ge=-1, le=1)] | None
    """None is *unscored* (unreadable judge, a metric that does not apply) and is never counted as 0."""
    reason: str = ""
    epoch: int = 1
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Prompt id, judge's served id, cited evidence ...; JSON values only."""

    @classmethod
    def of(
        cls,
        answer: Answer,
        scorer: str,
        dimension: str,
        value: float | None,
        reason: str = "",
        **metadata: Any,
    ) -> Score:
        """Score one dimension of an answer."""
        return cls(
            answer.sample_id, answer.contestant, answer.task, scorer, dimension, value, reason, answer.epoch, metadata
        )  # fmt: skip


@dataclass(frozen=True, slots=True)
class Reply:
    """What a judge's model returned to one call."""

    text: str
    model: str
    """The id the endpoint says it served."""
    usage: Usage = field(default_factory=Usage)


class Generate(Protocol):
    """How a judge reaches a model: the run engine gives one to it, a test a function of its own.

    A call that fails for good raises `JudgeCallError`; the judge then leaves its dimensions unscored.
    """

    async def __call__(self, system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        """Return the model's reply at temperature 0; `schema` is the JSON schema asked of it."""
        ...


class JudgeCallError(Exception):
    """A judge's model did not reply (time-out, refusal, endpoint gone)."""


@dataclass(frozen=True, slots=True)
class RunManifest:
    """What was run: enough to run it again, and to refuse comparing what cannot be compared."""

    __pydantic_config__: ClassVar[ConfigDict] = CLOSED
    contestant: str
    tasks: tuple[TaskName, ...]
    dataset: str
    """``"fresh"`` or ``"sc-arena"`` or ``"sc-arena-compat"``."""
    seed: int
    limit: int | None
    epochs: int
    samples_sha256: Mapping[str, str]
    """Hash of the samples by task (ids, prompts, gold, fields)."""
    prompts: Mapping[str, str]
    """Prompt id by task, ``name@sha256[:8]``."""
    graph_hash: str
    judges: tuple[str, ...] = ()
    arena_version: str = ""
    engine: str = ""
    """Name and version of the run engine."""
    git_sha: str = ""
    command: str = ""
    created: str = ""
    """UTC, ISO 8601; the only field that two runs of one command do not share."""
    model_args: Mapping[str, Any] = field(default_factory=dict)
    """Of the contestant: base URL without credentials, temperature, revision ..."""

    def fingerprint(self, task: TaskName) -> str:
        """Sixteen hex digits that two runs must share before their answers to `task` stand in one table.

        It covers the samples with their gold, the prompt and the graph that metrics read; not the contestant.
        """
        parts = [
            self.dataset,
            task,
            self.samples_sha256.get(task, ""),
            self.prompts.get(task, ""),
            self.graph_hash,
        ]
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True)
class Run:
    """A finished (or partly finished) run as read back from its folder; see `arena.run_folder`."""

    folder: str
    manifest: RunManifest
    samples: Mapping[str, Sample]
    """By sample id."""
    answers: tuple[Answer, ...]
    scores: tuple[Score, ...]


def canonical_json(value: object) -> str:
    """JSON text of plain values with sorted keys: equal values give equal bytes."""
    return json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"))


def samples_sha256(samples: list[Sample]) -> str:
    """Hash of samples regardless of their order."""
    digest = hashlib.sha256()
    for sample in sorted(samples, key=lambda s: s.id):
        digest.update(canonical_json(asdict(sample)).encode())
        digest.update(b"\n")
    return digest.hexdigest()


def first_fault(error: ValidationError) -> tuple[str, str]:
    """Return the path and the message of the first fault of a record; no message for an unknown key.

    An unknown key comes before the key that it may stand for.
    """
    faults = error.errors(include_url=False, include_input=False)
    unknown = [f for f in faults if f["type"] == "unexpected_keyword_argument"]
    fault = (unknown or faults)[0]
    return ".".join(map(str, fault["loc"])), "" if unknown else fault["msg"]
