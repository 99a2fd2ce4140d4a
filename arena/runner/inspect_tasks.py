"""What the run engine knows of the arena: its tasks, its solvers, its baselines as a model provider.

The functions have to live in the package that the entry point ``inspect_ai`` names; re-exported ones stay
unknown to ``inspect eval`` and ``inspect eval-retry``. Everything here is thin: prompts, parsers, baselines
and judges are pure functions elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from inspect_ai import Epochs, Task, task
from inspect_ai._util.registry import registry_name
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as EngineSample
from inspect_ai.log import transcript
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    ChatMessageSystem,
    ChatMessageUser,
    GenerateConfig,
    Model,
    ModelAPI,
    ModelOutput,
    ModelUsage,
    ResponseSchema,
    get_model,
    modelapi,
)
from inspect_ai.scorer import Metric, SampleScore, Scorer, Target, metric, scorer
from inspect_ai.scorer import Score as EngineScore
from inspect_ai.solver import Generate as EngineGenerate
from inspect_ai.solver import Solver, TaskState, solver
from inspect_ai.tool import ToolChoice, ToolInfo
from inspect_ai.util import JSONSchema
from pydantic import TypeAdapter

from arena.contestants import baselines
from arena.judging.graph_judge import knowledge_scores
from arena.report.summary import mean_of
from arena.runner.run_folder import read_answer_texts, read_samples
from arena.scoring.metrics import score as score_answer
from arena.tasks import read_reply, render
from arena.types import (
    Answer,
    JudgeCallError,
    Reply,
    Sample,
    Score,
    TaskName,
    Usage,
    canonical_json,
    samples_sha256,
)
from gather.llm.base import Reply as CachedReply
from gather.llm.base import Usage as CachedUsage
from vckg.base.errors import InputError
from vckg.base.prompts import load_prompt

if TYPE_CHECKING:
    from gather.llm.cache import ReplyCache
    from vckg.graph.graph import Graph

Judge = Callable[..., Any]


@dataclass
class Questions:
    """Samples that are being asked, with what contestants and solvers need beside the prompt."""

    samples: Mapping[str, Sample]
    load_graph: Callable[[], Graph]
    fingerprint: str = ""
    """Of the contestant: model, arguments, URL, sampling. Part of every cache key, so that two models never
    share.
    """
    cache: ReplyCache | None = None
    advance: Callable[[float], None] = lambda _steps: None

    @cached_property
    def graph(self) -> Graph:
        """The graph, loaded when first asked for."""
        return self.load_graph()

    @cached_property
    def measured(self) -> tuple[str, ...]:
        """All genes of the cells that are shown, which is what retrieval takes as measured."""
        return tuple(sorted({g for s in self.samples.values() for g in s.fields.get("genes", ())}))

    @cached_property
    def _peers(self) -> dict[TaskName, baselines.Peers]:
        return {}

    def peers(self, name: TaskName) -> baselines.Peers:
        """All samples of a task, for baselines that count over them."""
        if name not in self._peers:
            mine = {i: s for i, s in self.samples.items() if s.task == name}
            self._peers[name] = baselines.Peers(mine, lambda: marker_table(self.graph))
        return self._peers[name]


def marker_table(graph: Graph) -> Mapping[str, baselines.Markers]:
    """Markers of the graph by cell type, for the marker-overlap baseline."""
    from arena.contestants.gather import markers_by_type

    table: Mapping[str, baselines.Markers] = markers_by_type(graph)
    return table


class JudgeCall(Protocol):
    """`arena.judging.llm_judge.judge` with the graph and the judge's name bound."""

    async def __call__(self, sample: Sample, answer: Answer, generate: Any) -> list[Score]:
        """Return the scores of one answer."""
        ...


@dataclass
class Verdicts:
    """Answers that are being judged."""

    samples: Mapping[str, Sample]
    answers: Mapping[str, Answer]
    """By `arena.runner.run.judged_id`."""
    judge: JudgeCall
    advance: Callable[[float], None] = field(default=lambda _steps: None)


_QUESTIONS: dict[str, Questions] = {}
_VERDICTS: dict[str, Verdicts] = {}


def register_questions(questions: Questions) -> str:
    """Make samples known to the tasks of this process and return the name they take as ``samples``."""
    key = samples_sha256(list(questions.samples.values()))[:16]
    _QUESTIONS[key] = questions
    return key


def register_verdicts(verdicts: Verdicts, key: str) -> str:
    """Make answers known to the judging task of this process under `key`."""
    _VERDICTS[key] = verdicts
    return key


def questions_of(samples: str) -> Questions:
    """Registered samples by name, or those of a run's ``samples.jsonl``."""
    if samples not in _QUESTIONS:
        path = Path(samples)
        if not path.is_file():
            raise InputError(f"samples={samples!r}: give the samples.jsonl of a run that `arena run` made")
        import vckg

        _QUESTIONS[samples] = Questions(read_samples(path), vckg.load)
    return _QUESTIONS[samples]


# ---- tasks ------------------------------------------------------------------------------------------------


def _named(name: str) -> str:
    """``arena/NAME``, which the engine makes of NAME by itself only where the package is installed as a wheel."""
    return name if registry_name(_named, name) != name else f"arena/{name}"


@task(name=_named("annotation"))
def annotation(
    dataset: str = "fresh",
    seed: int = 0,
    limit: int | None = None,
    evidence: bool = False,
    epochs: int = 1,
    graph: str = "",
    samples: str = "",
) -> Task:
    """Name the cell type of a ranked gene list."""
    return _ask("annotation", samples or _made("annotation", dataset, seed, limit, graph), evidence, epochs)


@task(name=_named("captioning"))
def captioning(
    dataset: str = "fresh",
    seed: int = 0,
    limit: int | None = None,
    evidence: bool = False,
    epochs: int = 1,
    graph: str = "",
    samples: str = "",
) -> Task:
    """Describe a cell from its ranked genes."""
    return _ask("captioning", samples or _made("captioning", dataset, seed, limit, graph), evidence, epochs)


@task(name=_named("generation"))
def generation(
    dataset: str = "fresh",
    seed: int = 0,
    limit: int | None = None,
    evidence: bool = False,
    epochs: int = 1,
    graph: str = "",
    samples: str = "",
) -> Task:
    """Write the ranked genes of a named cell type."""
    return _ask("generation", samples or _made("generation", dataset, seed, limit, graph), evidence, epochs)


@task(name=_named("perturbation"))
def perturbation(
    dataset: str = "fresh",
    seed: int = 0,
    limit: int | None = None,
    evidence: bool = False,
    epochs: int = 1,
    graph: str = "",
    samples: str = "",
) -> Task:
    """Say which genes rise and which fall when a regulator is switched."""
    return _ask(
        "perturbation", samples or _made("perturbation", dataset, seed, limit, graph), evidence, epochs
    )


@task(name=_named("qa"))
def qa(
    dataset: str = "fresh",
    seed: int = 0,
    limit: int | None = None,
    evidence: bool = False,
    epochs: int = 1,
    graph: str = "",
    samples: str = "",
) -> Task:
    """Answer a question that a paper or a sourced edge settles."""
    return _ask("qa", samples or _made("qa", dataset, seed, limit, graph), evidence, epochs)


@task(name=_named("judging"))
def judging(answers: str, judge: str) -> Task:
    """Judge answers: the judge is the model here, one sample is one answer of one epoch."""
    verdicts = _VERDICTS[answers]
    rows = [
        EngineSample(id=key, input="(the judge's prompt is made from sample, answer and graph)")
        for key in verdicts.answers
    ]
    return Task(
        dataset=MemoryDataset(rows, name=f"answers-{answers}"), solver=weigh(answers), name=f"judging-{judge}"
    )


def _made(name: TaskName, dataset: str, seed: int, limit: int | None, graph: str) -> str:
    """Make the samples of a task as `arena run` does and return the name under which they are known."""
    import vckg
    from arena.datasets import make_cells, make_samples

    loaded = vckg.load(Path(graph) if graph else None)
    _, cells = make_cells(dataset, loaded, seed=seed)
    made = make_samples(cells, (name,), seed=seed, limit=limit).get(name, [])
    if not made:
        raise InputError(f"{dataset}: its cells allow no {name} samples; see `arena data -d {dataset}`")
    return register_questions(Questions({s.id: s for s in made}, lambda: loaded))


def _ask(name: TaskName, samples: str, evidence: bool, epochs: int) -> Task:
    chosen = [s for s in questions_of(samples).samples.values() if s.task == name]
    rows = [
        EngineSample(
            id=sample.id,
            input=[
                ChatMessageUser(content=render(sample), metadata={"samples": samples, "sample": sample.id})
            ],
        )
        for sample in chosen
    ]
    dataset = MemoryDataset(rows, name=f"{name}-{samples}")
    return Task(
        dataset=dataset,
        solver=ask(samples, evidence),
        scorer=[measured(samples), known(samples)],
        epochs=Epochs(epochs),
        name=name,
    )


# ---- scorers: the functions of `arena run`, and its mean -------------------------------------------------


@metric(name=_named("average"))
def average() -> Metric:
    """Mean of what is scored; what is not is left out, never 0."""

    def compute(scores: list[SampleScore]) -> float:
        values = [s.score.value for s in scores]
        scored = [float(v) for v in values if isinstance(v, int | float) and not math.isnan(v)]
        found = mean_of(scored)
        return math.nan if found is None else found

    return compute


@scorer(metrics={"*": [average()]}, name=_named("metrics"))
def measured(samples: str) -> Scorer:
    """Score by the deterministic metrics of the task."""
    return _scored_by(samples, score_answer)


@scorer(metrics={"*": [average()]}, name=_named("knowledge"))
def known(samples: str) -> Scorer:
    """Score by the judge that needs no model."""
    return _scored_by(samples, knowledge_scores)


def _scored_by(samples: str, function: Callable[[Sample, Answer, Graph], list[Score]]) -> Scorer:
    async def score(state: TaskState, target: Target) -> EngineScore:
        questions = questions_of(samples)
        sample = questions.samples[str(state.sample_id)]
        text = state.output.completion
        parsed, refused = read_reply(sample.task, text)
        answer = Answer(
            sample.id,
            str(state.model),
            sample.task,
            text,
            parsed,
            parsed is not None,
            refused,
            epoch=state.epoch,
        )
        found = function(sample, answer, questions.graph)
        values = {s.dimension: math.nan if s.value is None else s.value for s in found}
        return EngineScore(value=values, answer=text, explanation=found[0].reason)

    return score


# ---- solvers ----------------------------------------------------------------------------------------------


@solver
def ask(samples: str, evidence: bool = False) -> Solver:
    """Put the prompt to the model, with retrieved evidence before it where asked; replies may come from a
    cache.
    """

    async def solve(state: TaskState, generate: EngineGenerate) -> TaskState:
        questions = questions_of(samples)
        sample = questions.samples[str(state.sample_id)]
        if evidence:
            from arena.contestants.gather import evidence_for

            found = evidence_for(sample, questions.graph, questions.measured)
            prompt = load_prompt("arena/with-evidence").render(
                evidence=found, question=state.user_prompt.text
            )
            state.user_prompt.text = prompt
        key = cache_key(questions.fingerprint, [m.text for m in state.messages], state.epoch)
        kept = questions.cache.get(key) if questions.cache else None
        started = time.monotonic()
        if kept is not None:
            state.output = _output(
                state.model.name, kept.text, kept.usage.prompt_tokens, kept.usage.completion_tokens
            )
            state.messages.append(state.output.message)
        else:
            state = await generate(state)
            if questions.cache is not None and state.output.completion:
                questions.cache.put(key, _to_cache(state.output), model=str(state.model))
        _note(
            text=state.output.completion,
            model=state.output.model,
            tokens=list(_tokens(state.output)),
            stopped=state.output.stop_reason,
            cached=kept is not None,
            latency_s=round(time.monotonic() - started, 4),
            prompt=state.user_prompt.text,
        )
        questions.advance(1)
        return state

    return solve


def cache_key(fingerprint: str, messages: list[str], epoch: int) -> str:
    """Key of one call: the contestant with all its arguments, the messages, the epoch."""
    return hashlib.sha256("\x00".join([fingerprint, str(epoch), *messages]).encode()).hexdigest()


NOTE = "arena"
"""Source of the event that carries what a sample came to."""


def _note(**facts: Any) -> None:
    """Write what a sample came to as an event of its transcript.

    Events are all that the engine recovers of a sample after a kill: its store and a changed output are lost.
    """
    transcript().info(facts, source=NOTE)


def _to_cache(output: ModelOutput) -> CachedReply:
    return CachedReply(output.completion, CachedUsage(*_tokens(output), estimated=False))


def _tokens(output: ModelOutput) -> tuple[int, int]:
    """Tokens in and out, those read from or written to a provider's prompt cache included."""
    usage = output.usage or ModelUsage()
    cached = (usage.input_tokens_cache_read or 0) + (usage.input_tokens_cache_write or 0)
    return int(usage.input_tokens + cached), int(usage.output_tokens)


@solver
def weigh(answers: str) -> Solver:
    """Let the judge see one answer; its scores go into the sample's transcript.

    A call that fails for good makes the sample an error, so that the same command tries it again; a reply
    that cannot be read leaves the answer unscored.
    """

    async def solve(state: TaskState, generate: EngineGenerate) -> TaskState:
        verdicts = _VERDICTS[answers]
        answer = verdicts.answers[str(state.sample_id)]
        caller = JudgeModel(get_model)
        scores = await verdicts.judge(verdicts.samples[answer.sample_id], answer, caller)
        if caller.failure is not None:
            raise caller.failure
        _note(scores=json.loads(canonical_json([asdict(score) for score in scores])))
        verdicts.advance(1)
        return state

    return solve


class JudgeModel:
    """`arena.types.Generate` over a model of the engine; `model` gives it when called."""

    def __init__(self, model: Callable[[], Model], config: GenerateConfig | None = None) -> None:
        self._model = model
        self._config = config or GenerateConfig()
        self.failure: JudgeCallError | None = None
        self.usage = Usage()

    async def __call__(self, system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        messages: list[ChatMessage] = [ChatMessageSystem(content=system)] if system else []
        messages.append(ChatMessageUser(content=prompt))
        model = self._model()
        held = GenerateConfig() if schema is None else _held_to(schema, model)
        try:
            output = await model.generate(
                messages, config=self._config.merge(held).merge(GenerateConfig(temperature=0.0))
            )
        except Exception as error:
            self.failure = JudgeCallError(f"{type(error).__name__}: {error}")
            raise self.failure from error
        spent = Usage(*_tokens(output))
        self.usage = Usage(
            self.usage.input_tokens + spent.input_tokens, self.usage.output_tokens + spent.output_tokens
        )
        return Reply(output.completion, output.model, spent)


def _held_to(schema: Mapping[str, Any], model: Model) -> GenerateConfig:
    """Configuration that holds a reply to a JSON schema.

    The engine strips an OpenAI-compatible request of every bound (lengths, ranges, numbers of items), and a judge that
    is held to the rest cites without end; such a URL therefore gets the schema as it is.
    """
    if (extra := model.config.extra_body) is not None:
        whole = {"type": "json_schema", "json_schema": {"name": "verdict", "schema": dict(schema)}}
        return GenerateConfig(extra_body={**extra, "response_format": whole})
    told = TypeAdapter(JSONSchema).validate_python(schema)
    return GenerateConfig(response_schema=ResponseSchema(name="verdict", json_schema=told))


# ---- baselines and retrieval, as models -------------------------------------------------------------------


@modelapi(name="arena")
def arena_provider() -> type[ModelAPI]:
    """The provider behind ``arena/majority``, ``arena/gather``, ``arena/replay`` ..."""
    return ArenaModel


class ArenaModel(ModelAPI):
    """A contestant that is a function of the sample; usage is always set, so nothing asks for a tokenizer."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        config: GenerateConfig = GenerateConfig(),
        answers: str = "",
    ) -> None:
        super().__init__(model_name, base_url, api_key, [], config)
        self.answers = read_answer_texts(Path(answers)) if answers else {}

    async def generate(
        self, input: list[ChatMessage], tools: list[ToolInfo], tool_choice: ToolChoice, config: GenerateConfig
    ) -> ModelOutput:
        """Return the contestant's reply to the sample that the message names."""
        asked = next(m for m in reversed(input) if m.role == "user")
        named = asked.metadata or {}
        if "sample" not in named:
            raise InputError(f"arena/{self.model_name} answers samples of the arena only, not free prompts")
        questions = questions_of(named["samples"])
        text = self.reply(questions.samples[named["sample"]], questions)
        return _output(f"arena/{self.model_name}", text, len(asked.text.split()), len(text.split()))

    def reply(self, sample: Sample, questions: Questions) -> str:
        """The text of the answer."""
        if self.model_name == "replay":
            return self.answers.get(sample.id, "")
        if self.model_name == "gather":
            from arena.contestants.gather import answer_by_retrieval

            return answer_by_retrieval(sample, questions.graph, questions.measured)
        return baselines.reply(self.model_name, sample, questions.peers(sample.task))


def _output(model: str, text: str, input_tokens: int, output_tokens: int) -> ModelOutput:
    message = ChatMessageAssistant(content=text, model=model, source="generate")
    usage = ModelUsage(
        input_tokens=input_tokens, output_tokens=output_tokens, total_tokens=input_tokens + output_tokens
    )
    choice = ChatCompletionChoice(message=message, stop_reason="stop")
    return ModelOutput(model=model, choices=[choice], usage=usage)
