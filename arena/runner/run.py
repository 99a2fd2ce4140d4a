"""A run: put samples to a contestant, keep the answers, score them; survive being killed.

A run is one folder; the same command in the same folder asks only what has no answer yet. Judges are a second pass
(`arena.runner.judge`), so a run can be judged again later without asking the contestant. Deterministic scores are
computed from the answers when the run is written, never stored in the logs of the engine.
"""

from __future__ import annotations

import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena import run_folder
from arena.contestants.resolve import Contestant
from arena.runner import inspect_tasks
from arena.runner.inspect_engine import (
    Outcome,
    Sampling,
    evaluate,
    name_and_version,
    open_model,
    outcomes,
    task_of,
)
from arena.runner.questions import Questions, register_questions
from arena.tasks import prompt_id, read_reply
from arena.types import (
    Answer,
    RunManifest,
    Sample,
    Score,
    TaskName,
    Usage,
    canonical_json,
    samples_sha256,
)
from vckg.base.console import err, progress
from vckg.base.errors import InputError, KnownError
from vckg.base.lock import lock_if_possible

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


@dataclass(frozen=True, slots=True)
class Plan:
    """One run as the user asks for it."""

    contestant: Contestant
    dataset: str
    samples: Mapping[TaskName, Sequence[Sample]]
    graph_hash: str
    load_graph: Callable[[], Graph]
    seed: int = 0
    limit: int | None = None
    epochs: int = 1
    sampling: Sampling = field(default_factory=Sampling)
    prices: tuple[float, float] | None = None
    """US dollars per million tokens in and out."""
    cache: Path | None = None
    """File of paid replies to share between runs; None asks anew."""
    command: str = ""


class RunFailed(KnownError):
    """No sample of a run got an answer."""


# ---- running ----------------------------------------------------------------------------------------------


def run(plan: Plan, root: Path) -> Path:
    """Ask the contestant everything that has no answer yet and write the run's folder; return it.

    Raises
    ------
    KnownError
        The endpoint does not answer, a key is missing, a log is damaged, or another process runs here.
    """
    manifest = make_manifest(plan)
    folder = root / run_name(manifest)
    model = open_model(plan.contestant, plan.sampling)  # before anything is written
    with locked(folder):
        if (folder / run_folder.MANIFEST).is_file():
            known = run_folder.read_manifest(folder)
            manifest = replace(manifest, created=known.created, judges=known.judges)
        elif plan.contestant.model.partition("/")[0] != "arena":
            beside = folder.parent.glob(f"{folder.name.rpartition('--')[0]}--*")
            for other in [run for run in beside if run != folder][:1]:
                said = f"{folder}: a new run: its samples or settings are not those of {other.name}; all is asked"
                err().print(f"{said}, but what --cache FILE holds", soft_wrap=True)
        samples = [s for task in manifest.tasks for s in plan.samples[task]]
        run_folder.write_records(folder / run_folder.SAMPLES, samples)
        run_folder.write_manifest(folder, manifest)
        answers = _ask(plan, manifest, folder, samples, model)
        if all(answer.error for answer in answers):
            asked = f"-m {plan.contestant.model.removeprefix('endpoint/')}"
            raise RunFailed(f"{folder}: {asked} answered no sample; the first error: {answers[0].error}")
        run_folder.write_records(folder / run_folder.ANSWERS, answers)
        write_scores(folder, plan.load_graph)
    return folder


def _ask(plan: Plan, manifest: RunManifest, folder: Path, samples: list[Sample], model: Any) -> list[Answer]:
    """Return answers to all samples, by id and epoch; one task at a time, since the engine keeps much of each."""
    from gather.llm.cache import ReplyCache

    answers: list[Answer] = []
    with progress(f"asking {plan.contestant.name}", len(samples) * plan.epochs) as advance:
        questions = Questions(
            {s.id: s for s in samples},
            plan.load_graph,
            fingerprint=canonical_json(manifest.model_args),
            cache=ReplyCache(plan.cache) if plan.cache else None,
            advance=advance,
        )
        key = register_questions(questions)
        for name in manifest.tasks:
            task = inspect_tasks.TASK_MAKERS[name](
                samples=key,
                evidence=plan.contestant.evidence,
                tools=plan.contestant.tools,
                epochs=plan.epochs,
            )
            logs = evaluate([task], model, folder / "logs" / "answers", plan.sampling)
            answers += answers_of(logs, manifest)
    return sorted(answers, key=lambda a: (a.sample_id, a.epoch))


def write_scores(folder: Path, load_graph: Callable[[], Graph]) -> None:
    """Compute the deterministic scores of a run's answers and write them with those of its judges."""
    run_folder.write_records(folder / run_folder.SCORES, _scores_of(folder, load_graph()))


def _scores_of(folder: Path, graph: Graph) -> Iterator[Score]:
    from arena.judging.graph_judge import knowledge_scores
    from arena.judging.judgements import judgements_of
    from arena.scoring.metrics import score

    run_ = run_folder.read_answers(folder)
    for answer in run_.answers:
        sample = run_.samples[answer.sample_id]
        yield from score(sample, answer, graph)
        yield from knowledge_scores(sample, answer, graph)
    yield from judgements_of(folder / "judgements", run_.answers)


def check_graph(folder: Path, graph: Graph) -> None:
    """Refuse to score a run with another graph than its samples were made with: the scores would not compare.

    Raises
    ------
    InputError
        The hashes differ.
    """
    made_with = run_folder.read_manifest(folder).graph_hash
    if made_with != graph.content_hash:
        raise InputError(
            f"{folder}: made with graph {made_with[:12]}, this one is {graph.content_hash[:12]}; name that graph with "
            "--graph, or run again"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder; it ends with the process."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w", encoding="utf-8")
    except OSError as error:
        raise InputError(
            f"{folder}: cannot write there ({error.strerror or error}); name another folder"
        ) from error
    with lock as handle:
        if not lock_if_possible(handle.fileno()):
            raise InputError(f"{folder}: another arena process writes here; wait for it, or end it")
        yield


# ---- from logs to answers ----------------------------------------------------------------------------------


def answers_of(logs: Sequence[str], manifest: RunManifest) -> list[Answer]:
    """Return the answers of a run in the order of sample id and epoch."""
    prices = manifest.model_args.get("prices")
    answers = []
    for log in logs:
        task: TaskName = task_of(log)
        answers += [_answer(outcome, task, manifest.contestant, prices) for outcome in outcomes(log)]
    return sorted(answers, key=lambda a: (a.sample_id, a.epoch))


def _answer(outcome: Outcome, task: TaskName, contestant: str, prices: Sequence[float] | None) -> Answer:
    facts = outcome.facts
    text = str(facts.get("text", ""))
    parsed, refused = (None, False) if outcome.error else read_reply(task, text)
    tokens_in, tokens_out = facts.get("tokens", (0, 0))
    cost = None if prices is None else (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6
    return Answer(
        sample_id=outcome.id,
        contestant=contestant,
        task=task,
        text=text,
        parsed=parsed,
        format_ok=parsed is not None,
        refused=refused or (parsed is None and facts.get("stopped") == "content_filter"),
        usage=Usage(tokens_in, tokens_out, cached=bool(facts.get("cached")), cost_usd=cost),
        latency_s=float(facts.get("latency_s", 0.0)),
        epoch=outcome.epoch,
        model=str(facts.get("model", "")),
        error=outcome.error,
        prompt=str(facts.get("prompt", "")),
    )


# ---- what identifies a run --------------------------------------------------------------------------------


def make_manifest(plan: Plan) -> RunManifest:
    """Return the manifest of a plan."""
    contestant, sampling = plan.contestant, plan.sampling
    tasks = tuple(task for task in contestant.tasks if plan.samples.get(task))
    return RunManifest(
        contestant=contestant.name,
        tasks=tasks,
        dataset=plan.dataset,
        seed=plan.seed,
        limit=plan.limit,
        epochs=plan.epochs,
        samples_sha256={task: samples_sha256(list(plan.samples[task])) for task in tasks},
        prompts={task: prompt_id(task) for task in tasks},
        graph_hash=plan.graph_hash,
        arena_version=version("vckg"),
        engine=name_and_version(),
        git_sha=git_sha(),
        command=plan.command,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        model_args={
            "model": contestant.model,
            "kind": contestant.kind,
            "evidence": contestant.evidence,
            "reads_graph": contestant.reads_graph,
            "base_url": contestant.base_url,
            "temperature": sampling.temperature,
            "max_tokens": sampling.max_tokens,
            "seed": sampling.seed,
            "args": contestant.args,
            **({"tools": True} if contestant.tools else {}),
            **({"content": contestant.content} if contestant.content else {}),
            "prices": list(plan.prices) if plan.prices else None,
        },
    )


def run_name(manifest: RunManifest) -> str:
    """Return the folder of a run: the contestant and a digest of what its answers depend on."""
    parts: dict[str, Any] = {
        "samples": dict(manifest.samples_sha256),
        "prompts": dict(manifest.prompts),
        "graph": manifest.graph_hash,
        "epochs": manifest.epochs,
        "model": {k: v for k, v in manifest.model_args.items() if k != "prices"},
    }
    # Of all others our own code answers, or makes a part of the prompt.
    if manifest.model_args["kind"] not in ("model", "replay"):
        parts["arena"] = manifest.arena_version
    digest = hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:10]
    slug = Contestant(manifest.contestant, "", "", ()).slug[:60]
    return f"{slug}--{manifest.dataset}--{digest}"


def git_sha() -> str:
    """Return the commit of this checkout; empty in an installed wheel."""
    git = shutil.which("git")
    root = Path(__file__).parents[2]
    if git is None or not (root / ".git").exists():
        return ""
    asked = [git, "-C", str(root), "rev-parse", "HEAD"]
    return subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
