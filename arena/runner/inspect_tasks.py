"""What the run engine knows of the arena: tasks, scorers and solvers; its models are in `inspect_models`.

The entry point ``inspect_ai`` names this module, so that ``inspect eval arena/annotation`` finds the tasks. Everything
here is thin: prompts, parsers, metrics, baselines and judges are plain functions elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

from inspect_ai import Epochs, Task, task
from inspect_ai._util.registry import registry_name
from inspect_ai.dataset import MemoryDataset
from inspect_ai.dataset import Sample as EngineSample
from inspect_ai.log import transcript
from inspect_ai.model import ChatMessageAssistant, ChatMessageTool, ChatMessageUser, get_model
from inspect_ai.scorer import Metric, SampleScore, Scorer, Target, metric, scorer
from inspect_ai.scorer import Score as EngineScore
from inspect_ai.solver import Generate as EngineGenerate
from inspect_ai.solver import Solver, TaskState, solver
from inspect_ai.tool import Tool, ToolDef, ToolParams
from inspect_ai.util import JSONSchema

from arena.judging.graph_judge import knowledge_scores
from arena.runner.inspect_models import (
    JudgeModel,
    arena_provider,
    endpoint_provider,
    output_of,
    said,
    tokens_of,
)
from arena.runner.questions import Questions, made_name, questions_of, verdicts_of
from arena.scoring.metrics import mean_of
from arena.scoring.metrics import score as score_answer
from arena.tasks import TASK_TABLE, read_reply, render
from arena.types import Answer, Sample, Score, TaskName, Usage, canonical_json, samples_sha256
from gather.llm.base import Reply as CachedReply
from gather.llm.base import Usage as CachedUsage
from vckg.base.errors import InputError
from vckg.base.prompts import load_prompt

if TYPE_CHECKING:
    from vckg.graph.graph import Graph

__all__ = ["arena_provider", "endpoint_provider"]
"""Providers of models, which the engine finds here."""


# ---- tasks ------------------------------------------------------------------------------------------------


def _named(name: str) -> str:
    """Return ``arena/NAME``; the engine adds the prefix by itself only where the package is installed as a wheel."""
    return name if registry_name(_named, name) != name else f"arena/{name}"


def _task_of(name: TaskName) -> Callable[..., Task]:
    """Register a task with the engine and return its function."""

    def make(
        dataset: str = "fresh",
        seed: int = 0,
        limit: int | None = None,
        evidence: bool = False,
        tools: bool = False,
        epochs: int = 1,
        graph: str = "",
        samples: str = "",
    ) -> Task:
        return _ask(name, samples or made_name(name, dataset, seed, limit, graph), evidence, tools, epochs)

    make.__name__ = make.__qualname__ = name
    make.__doc__ = TASK_TABLE[name].title.capitalize() + "."
    made: Callable[..., Task] = task(name=_named(name))(make)
    return made


TASK_MAKERS: Final[Mapping[TaskName, Callable[..., Task]]] = {name: _task_of(name) for name in TASK_TABLE}
"""The engine's tasks: data set, seed, limit and graph as in `arena run`, or ``samples`` of a run."""


@task(name=_named("judging"))
def judging(answers: str, judge: str) -> Task:
    """Judge answers: the judge is the model here, one sample is one answer of one epoch."""
    verdicts = verdicts_of(answers)
    rows = [
        EngineSample(id=key, input="(the judge's prompt is made from sample, answer and graph)")
        for key in verdicts.answers
    ]
    return Task(
        dataset=MemoryDataset(rows, name=f"answers-{answers}"), solver=weigh(answers), name=f"judging-{judge}"
    )


def _ask(name: TaskName, samples: str, evidence: bool, tools: bool, epochs: int) -> Task:
    asked = questions_of(samples).samples
    rows = [
        EngineSample(
            id=sample.id,
            input=[
                ChatMessageUser(content=render(sample), metadata={"samples": samples, "sample": sample.id})
            ],
            target=TASK_TABLE[name].reference(sample),
        )
        for sample in asked.values()
        if sample.task == name
    ]
    return Task(
        dataset=MemoryDataset(rows, name=f"{name}-{samples_sha256(list(asked.values()))[:16]}"),
        solver=ask(samples, evidence, tools),
        scorer=[metrics(samples), knowledge(samples)],
        epochs=Epochs(epochs),
        name=name,
    )


# ---- scorers: the functions of `arena run`, and its mean --------------------------------------------------


@metric(name=_named("average"))
def average() -> Metric:
    """Mean of the scored values; unscored ones are left out and never count as 0."""

    def compute(scores: list[SampleScore]) -> float:
        values = [s.score.value for s in scores]
        mean = mean_of([float(v) for v in values if isinstance(v, int | float) and not math.isnan(v)])
        return math.nan if mean is None else mean

    return compute


@scorer(metrics={"*": [average()]}, name=_named("metrics"))
def metrics(samples: str = "") -> Scorer:
    """Score by the deterministic metrics of the task; of a log that is scored again, the samples are those it names."""
    return _scored_by(samples, score_answer)


@scorer(metrics={"*": [average()]}, name=_named("knowledge"))
def knowledge(samples: str = "") -> Scorer:
    """Score by the judge that needs no model; `samples` as above."""
    return _scored_by(samples, knowledge_scores)


def _scored_by(samples: str, function: Callable[[Sample, Answer, Graph], list[Score]]) -> Scorer:
    async def score(state: TaskState, target: Target) -> EngineScore:
        questions = questions_of(samples or str((state.messages[0].metadata or {}).get("samples", "")))
        sample = questions.samples.get(str(state.sample_id))
        if sample is None:
            raise InputError(
                f"{state.sample_id}: no such sample here; score the log where its data and graph are"
            )
        text = state.output.completion
        parsed, refused = read_reply(sample.task, text)
        contestant = str(state.model)
        answer = Answer(
            sample.id, contestant, sample.task, text, parsed, parsed is not None, refused, epoch=state.epoch
        )
        scores = function(sample, answer, questions.graph)
        values = {s.dimension: math.nan if s.value is None else s.value for s in scores}
        return EngineScore(value=values, answer=text, explanation=scores[0].reason)

    return score


# ---- solvers ----------------------------------------------------------------------------------------------


@solver
def ask(samples: str, evidence: bool = False, tools: bool = False) -> Solver:
    """Put the prompt to the model, behind retrieved evidence or with tools where asked; a cache may hold replies."""

    async def solve(state: TaskState, generate: EngineGenerate) -> TaskState:
        questions = questions_of(samples)
        sample = questions.samples[str(state.sample_id)]
        if evidence:
            from arena.contestants.gather import evidence_for

            text = evidence_for(sample, questions.graph)
            state.user_prompt.text = load_prompt("arena/with-evidence").render(
                evidence=text, question=state.user_prompt.text
            )
        if tools:
            question = state.user_prompt.text
            state.user_prompt.text = load_prompt("arena/with-tools").render(question=question)
        key = cache_key(questions.fingerprint, [m.text for m in state.messages], state.epoch)
        kept = questions.cache.get(key) if questions.cache else None
        started, spent = time.monotonic(), Usage()
        if kept is not None:
            state.output = output_of(
                state.model.name, kept.text, kept.usage.prompt_tokens, kept.usage.completion_tokens
            )
            state.messages.append(state.output.message)
            spent = Usage(kept.usage.prompt_tokens, kept.usage.completion_tokens)
        else:
            state, spent = await _reply(state, generate, questions, tools=tools)
            if questions.cache is not None and state.output.completion:
                usage = CachedUsage(spent.input_tokens, spent.output_tokens, estimated=False)
                reply = CachedReply(state.output.completion, usage)
                questions.cache.put(key, reply, model=str(state.model))
        _note(
            text=state.output.completion,
            model=state.output.model,
            tokens=[spent.input_tokens, spent.output_tokens],
            stopped=state.output.stop_reason,
            cached=kept is not None,
            latency_s=round(time.monotonic() - started, 4),
            prompt="\n\n".join([state.user_prompt.text, *_calls(state)]),
        )
        questions.advance(1)
        return state

    return solve


async def _reply(
    state: TaskState, generate: EngineGenerate, questions: Questions, *, tools: bool
) -> tuple[TaskState, Usage]:
    """Return the state with the reply, after at most `MOST_ROUNDS` rounds of calls, and the tokens of all rounds."""
    from arena.contestants.graph_tools import MOST_ROUNDS

    rounds = MOST_ROUNDS if tools else 0
    state.tools = list(_tools(questions)) if tools else []
    spent = [0, 0]
    for left in range(rounds, -1, -1):
        if left == 0:
            state.tool_choice = "none"
        state = await generate(state, tool_calls="single" if left else "none")
        spent = [a + b for a, b in zip(spent, tokens_of(state.output), strict=True)]
        if not state.output.message.tool_calls:
            break
    return state, Usage(spent[0], spent[1])


def _tools(questions: Questions) -> Iterator[Tool]:
    """Yield the graph's tools as the engine calls them."""
    from arena.contestants.graph_tools import OFFERED, described, use

    def made(name: str) -> Tool:
        says, schema = described(name)

        async def execute(**arguments: Any) -> str:
            return use(questions.graph, name, arguments)

        properties = {key: JSONSchema.model_validate(value) for key, value in schema["properties"].items()}
        parameters = ToolParams(properties=properties, required=schema.get("required", []))
        return ToolDef(execute, name, says, parameters).as_tool()

    yield from (made(name) for name in OFFERED)


def _calls(state: TaskState) -> Iterator[str]:
    """Yield each call of a tool with its answer, as a reader sees them below the prompt."""
    for message in state.messages:
        if isinstance(message, ChatMessageAssistant):
            for made in message.tool_calls or ():
                yield f"CALL {made.function} {json.dumps(made.arguments, ensure_ascii=False)}"
        elif isinstance(message, ChatMessageTool):
            yield f"ANSWER {said(message)}"


def cache_key(fingerprint: str, messages: list[str], epoch: int) -> str:
    """Return the key of one call: the contestant with all its arguments, the messages, the epoch."""
    return hashlib.sha256("\x00".join([fingerprint, str(epoch), *messages]).encode()).hexdigest()


@solver
def weigh(answers: str) -> Solver:
    """Let the judge rate one answer and note its scores in the sample's transcript.

    A call that fails for good makes the sample an error, so that the same command tries it again. A reply that cannot
    be read leaves the answer unscored.
    """

    async def solve(state: TaskState, generate: EngineGenerate) -> TaskState:
        verdicts = verdicts_of(answers)
        answer = verdicts.answers[str(state.sample_id)]
        caller = JudgeModel(get_model)
        scores = await verdicts.judge(verdicts.samples[answer.sample_id], answer, caller)
        if caller.failure is not None:
            raise caller.failure
        _note(scores=json.loads(canonical_json([asdict(score) for score in scores])))
        verdicts.advance(1)
        return state

    return solve


NOTE: Final = "arena"
"""Source of the event that carries the result of a sample."""


def _note(**facts: Any) -> None:
    """Write the result of a sample as an event of its transcript.

    After a kill the engine recovers events only: a sample's store and a changed output are lost.
    """
    transcript().info(facts, source=NOTE)
