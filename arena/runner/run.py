"""A run: puts samples to a contestant and answers to judges, and survives being killed.

A run is one folder; the same command in the same folder asks only what has no answer yet. Answers and
judgements are two passes of one mechanism (a judgement is a sample whose model is the judge), so a run can be
judged again later, by another judge, without asking the contestant. Deterministic scores are computed from the
answers when the run is written out, never stored in the engine's logs.
"""

from __future__ import annotations

import fcntl
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from arena.contestants.resolve import Contestant
from arena.datasets import limited
from arena.judging.judgements import Judgements, judgements_of, text_digest
from arena.runner import inspect_tasks as _registry
from arena.runner import run_folder as record
from arena.runner.inspect_engine import (
    Outcome,
    Sampling,
    evaluate,
    name_and_version,
    open_model,
    outcomes,
    task_of,
)
from arena.tasks import prompt_id, read_reply
from arena.types import (
    Answer,
    Run,
    RunManifest,
    Sample,
    Score,
    TaskName,
    Usage,
    canonical_json,
    samples_sha256,
)
from vckg.base.console import progress
from vckg.base.errors import InputError, KnownError

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


@dataclass(frozen=True, slots=True)
class Plan:
    """One run as asked for."""

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
        if (folder / record.MANIFEST).is_file():
            known = record.read_manifest(folder)
            manifest = replace(manifest, created=known.created, judges=known.judges)
        samples = [s for task in manifest.tasks for s in plan.samples[task]]
        record.write_records(folder / record.SAMPLES, samples)
        record.write_manifest(folder, manifest)
        answers = _ask(plan, manifest, folder, samples, model)
        if all(answer.error for answer in answers):
            raise RunFailed(f"{folder}: no sample was answered; the first error: {answers[0].error}")
        record.write_records(folder / record.ANSWERS, answers)
        write_scores(folder, plan.load_graph)
    return folder


def _ask(plan: Plan, manifest: RunManifest, folder: Path, samples: list[Sample], model: Any) -> list[Answer]:
    """Answers to all samples, by id and epoch; one task after the other, for what the engine keeps of one is large."""
    from gather.llm.cache import ReplyCache

    answers: list[Answer] = []
    with progress(f"asking {plan.contestant.name}", len(samples) * plan.epochs) as advance:
        questions = _registry.Questions(
            {s.id: s for s in samples},
            plan.load_graph,
            fingerprint=canonical_json(manifest.model_args),
            cache=ReplyCache(plan.cache) if plan.cache else None,
            advance=advance,
        )
        key = _registry.register_questions(questions)
        for name in manifest.tasks:
            task = getattr(_registry, name)(
                samples=key, evidence=plan.contestant.evidence, epochs=plan.epochs
            )
            logs = evaluate([task], model, folder / "logs" / "answers", plan.sampling)
            answers += answers_of(logs, manifest)
    return sorted(answers, key=lambda a: (a.sample_id, a.epoch))


def judge(
    folder: Path,
    judge_model: Contestant,
    load_graph: Callable[[], Graph],
    *,
    compat: bool = False,
    repeats: int = 1,
    limit: int | None = None,
    sampling: Sampling | None = None,
) -> Path:
    """Let a model judge every answer of a run that it has not judged yet; return the folder.

    `repeats` ratings of one answer differ in the order of what is shown and are averaged. `limit` is the number of
    samples a task whose answers are judged, drawn by the run's seed, so of every contestant the same ones.

    Raises
    ------
    KnownError
        As `run`.
    """
    from arena.judging.llm_judge import judge as judge_answer

    sampling = replace(sampling or Sampling(), temperature=0.0)
    with locked(folder):
        run_ = record.read_run(folder)
        drawn = _judged_samples(run_, limit)
        answers = {judged_id(a): a for a in run_.answers if not a.error and a.sample_id in drawn}
        graph = load_graph()

        async def weigh(sample: Sample, answer: Answer, generate: Any) -> list[Score]:
            return list(
                await judge_answer(
                    sample, answer, graph, generate, judge_id=judge_model.name, compat=compat, repeats=repeats
                )
            )

        asked = _asked_of(judge_model, sampling, repeats, run_.manifest.tasks, compat)
        with progress(f"{judge_model.name} judges", len(answers)) as advance:
            _registry.register_verdicts(
                _registry.Verdicts(run_.samples, answers, weigh, advance), folder.name
            )
            name = judge_model.slug + ("-compat" if compat else "")
            logs = evaluate(
                [_registry.judging(answers=folder.name, judge=name)],
                open_model(judge_model, sampling),
                folder / "logs" / "judges" / f"{name}--{asked}",
                sampling,
            )
        came = [o for log in logs for o in outcomes(log) if o.id in answers]
        if came and all(o.error for o in came):
            raise RunFailed(f"{folder}: {judge_model.name} judged nothing; the first error: {came[0].error}")
        known = Judgements(folder / "judgements", name, asked)
        judge_id = known.judge_id(judge_model)
        known.add(verdicts_of(came, answers, judge_id, compat=compat), answers)
        judges = tuple(sorted({*run_.manifest.judges, judge_id}))
        record.write_manifest(folder, replace(run_.manifest, judges=judges))
        write_scores(folder, lambda: graph)
    _refuse_unreadable(folder, judge_id, came, answers)
    return folder


def _refuse_unreadable(
    folder: Path, judge_id: str, came: Sequence[Outcome], answers: Mapping[str, Answer]
) -> None:
    """Raise where a judge was asked and not one of its replies could be read."""
    asked = [o for o in came if answers[o.id].parsed is not None and not o.error]
    totals = [s for o in asked for s in o.facts["scores"] if s["dimension"] == "total"]
    if totals and all(total["value"] is None for total in totals):
        raise RunFailed(
            f"{folder}: no reply of {judge_id} to {len(totals)} answers could be read as a verdict "
            f"({totals[0]['reason']}); all of them stay unscored: try another judge, or more --judge-max-tokens"
        )


def _judged_samples(run_: Run, limit: int | None) -> set[str]:
    if limit is None:
        return set(run_.samples)
    by_task: dict[TaskName, list[Sample]] = {}
    for sample in run_.samples.values():
        by_task.setdefault(sample.task, []).append(sample)
    return {s.id for samples in by_task.values() for s in limited(samples, run_.manifest.seed, limit)}


def _asked_of(
    judge_model: Contestant, sampling: Sampling, repeats: int, tasks: Sequence[TaskName], compat: bool
) -> str:
    """Digest of what verdicts depend on beside the answer; other prompts or limits are another asking."""
    from arena.judging.rubric import RUBRICS, verdict_schema
    from vckg.base.prompts import load_prompt

    forms = [f"sc-arena-{task}" for task in tasks] if compat else ["rubric"]
    parts = {
        "model": [judge_model.model, judge_model.args, judge_model.base_url],
        "prompts": [load_prompt(f"arena/judge-{name}").id for name in ("system", "repair", *forms)],
        "rubric": []
        if compat
        else [[asdict(d) for d in RUBRICS[t]] + [verdict_schema(t, {})] for t in tasks],
        "max_tokens": sampling.max_tokens,
        "repeats": repeats,
    }
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:8]


def judged_id(answer: Answer) -> str:
    """Id of an answer for its judges; it holds the text's hash, so another answer is another thing to judge."""
    return f"{answer.sample_id}#{answer.epoch}@{text_digest(answer)}"


def write_scores(folder: Path, load_graph: Callable[[], Graph]) -> None:
    """Compute the deterministic scores of a run's answers and write them with those of its judges."""
    record.write_records(folder / record.SCORES, _scores_of(folder, load_graph()))


def _scores_of(folder: Path, graph: Graph) -> Iterator[Score]:
    from arena.judging.graph_judge import knowledge_scores
    from arena.scoring.metrics import score

    run_ = record.read_answers(folder)
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
    made_with = record.read_manifest(folder).graph_hash
    if made_with != graph.content_hash:
        raise InputError(
            f"{folder}: made with graph {made_with[:12]}, this one is {graph.content_hash[:12]}; name that graph with "
            "--graph, or run again"
        )


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a run's folder alone; the lock dies with the process."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w", encoding="utf-8") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"{folder}: another arena process writes here; wait for it, or end it") from None
        yield


# ---- what comes out of the logs ---------------------------------------------------------------------------


def answers_of(logs: Sequence[str], manifest: RunManifest) -> list[Answer]:
    """Answers of a run in the order of sample id and epoch."""
    prices = manifest.model_args.get("prices")
    found = []
    for log in logs:
        task: TaskName = task_of(log)  # type: ignore[assignment]
        found += [_answer(outcome, task, manifest.contestant, prices) for outcome in outcomes(log)]
    return sorted(found, key=lambda a: (a.sample_id, a.epoch))


def _answer(came: Outcome, task: TaskName, contestant: str, prices: Sequence[float] | None) -> Answer:
    facts = came.facts
    text = str(facts.get("text", ""))
    parsed, refused = (None, False) if came.error else read_reply(task, text)
    tokens_in, tokens_out = facts.get("tokens", (0, 0))
    cost = None if prices is None else (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6
    return Answer(
        sample_id=came.id,
        contestant=contestant,
        task=task,
        text=text,
        parsed=parsed,
        format_ok=parsed is not None,
        refused=refused or (parsed is None and facts.get("stopped") == "content_filter"),
        usage=Usage(tokens_in, tokens_out, cached=bool(facts.get("cached")), cost_usd=cost),
        latency_s=float(facts.get("latency_s", 0.0)),
        epoch=came.epoch,
        model=str(facts.get("model", "")),
        error=came.error,
        prompt=str(facts.get("prompt", "")),
    )


def verdicts_of(
    outcomes_: Sequence[Outcome], answers: Mapping[str, Answer], judge_id: str, *, compat: bool
) -> Iterator[Score]:
    """Scores of one judge, in the order of the answers; an answer it could not be asked about is unscored."""
    for came in sorted(outcomes_, key=lambda o: o.id):
        answer = answers[came.id]
        if not came.error:
            scorer = f"{judge_id}:sc-arena" if compat else judge_id
            yield from (Score(**{**value, "scorer": scorer}) for value in came.facts["scores"])
        else:
            yield Score(
                answer.sample_id,
                answer.contestant,
                answer.task,
                scorer=f"{judge_id}:sc-arena" if compat else judge_id,
                dimension="total",
                value=None,
                reason=f"the judge did not reply: {came.error}",
                epoch=answer.epoch,
            )


# ---- what identifies a run --------------------------------------------------------------------------------


def make_manifest(plan: Plan) -> RunManifest:
    """The manifest of a plan."""
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
            "prices": list(plan.prices) if plan.prices else None,
        },
    )


def run_name(manifest: RunManifest) -> str:
    """Folder of a run: the contestant and what its answers depend on, so that the same command finds it
    again.
    """
    parts: dict[str, Any] = {
        "samples": dict(manifest.samples_sha256),
        "prompts": dict(manifest.prompts),
        "graph": manifest.graph_hash,
        "epochs": manifest.epochs,
        "model": {k: v for k, v in manifest.model_args.items() if k != "prices"},
    }
    digest = hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:10]
    slug = Contestant(manifest.contestant, "", "", ()).slug[:60]
    return f"{slug}--{manifest.dataset}--{digest}"


def git_sha() -> str:
    """The commit of the checkout this package runs from; empty in an installed wheel."""
    git = shutil.which("git")
    root = Path(__file__).parents[2]
    if git is None or not (root / ".git").exists():
        return ""
    found = subprocess.run(
        [git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
