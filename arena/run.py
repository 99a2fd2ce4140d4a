"""The run engine: puts samples to a contestant and answers to judges, and survives being killed.

inspect-ai is wrapped here and in `arena._registry`, nowhere else. A run is one folder; the same command in
the same folder asks only what has no answer yet. Answers and judgements are two passes of one mechanism (a
judgement is a sample whose model is the judge), so a run can be judged again later, by another judge,
without asking the contestant. Deterministic scores are computed from the answers when the run is written
out, never stored in the engine's logs.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from inspect_ai import eval_set
from inspect_ai.log import EvalLog, EvalSample, list_eval_logs, read_eval_log
from inspect_ai.model import Model, get_model

from arena import _registry, record
from arena.contestants import Contestant
from arena.tasks import prompt_id, read_reply
from arena.types import (
    Answer,
    Generate,
    RunManifest,
    Sample,
    Score,
    TaskName,
    Usage,
    canonical_json,
    samples_sha256,
)
from vckg.console import progress
from vckg.errors import InputError, KnownError

if TYPE_CHECKING:
    from vckg.graph import Graph

ENGINE = "inspect-ai"


@dataclass(frozen=True, slots=True)
class Sampling:
    """How models are asked; of `temperature`, `max_tokens` and `seed` the answers depend, the rest is
    transport.
    """

    temperature: float = 0.0
    max_tokens: int = 2048
    seed: int | None = None
    connections: int = 10
    timeout_s: int = 300
    retries: int = 4


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
    with locked(folder):
        known = folder / record.MANIFEST
        if known.is_file():
            manifest = replace(manifest, created=record.read_manifest(folder).created)
        samples = [s for task in manifest.tasks for s in plan.samples[task]]
        record.write_records(folder / record.SAMPLES, samples)
        record.write_manifest(folder, manifest)
        logs = _ask(plan, manifest, folder, samples)
        answers = answers_of(logs, manifest)
        if all(answer.error for answer in answers):
            raise RunFailed(f"{folder}: no sample was answered; the first error: {answers[0].error}")
        record.write_records(folder / record.ANSWERS, answers)
        write_scores(folder, plan.load_graph)
    return folder


def _ask(plan: Plan, manifest: RunManifest, folder: Path, samples: list[Sample]) -> list[str]:
    from gather.llm_cache import ReplyCache

    with progress(f"asking {plan.contestant.name}", len(samples) * plan.epochs) as advance:
        questions = _registry.Questions(
            {s.id: s for s in samples},
            plan.load_graph,
            fingerprint=canonical_json(manifest.model_args),
            cache=ReplyCache(plan.cache) if plan.cache else None,
            advance=advance,
        )
        key = _registry.register_questions(questions)
        tasks = [
            getattr(_registry, task)(samples=key, evidence=plan.contestant.evidence, epochs=plan.epochs)
            for task in manifest.tasks
        ]
        return evaluate(
            tasks, open_model(plan.contestant, plan.sampling), folder / "logs" / "answers", plan.sampling
        )


def judge(
    folder: Path,
    judge_model: Contestant,
    load_graph: Callable[[], Graph],
    *,
    compat: bool = False,
    repeats: int = 1,
    sampling: Sampling | None = None,
) -> Path:
    """Let a model judge every answer of a run that it has not judged yet; return the folder.

    `repeats` ratings of one answer differ in the order of what is shown and are averaged.

    Raises
    ------
    KnownError
        As `run`.
    """
    from arena.judge import judge as judge_answer

    sampling = replace(sampling or Sampling(), temperature=0.0)
    with locked(folder):
        run_ = record.read_run(folder)
        answers = {judged_id(a): a for a in run_.answers if not a.error}
        graph = load_graph()

        async def weigh(sample: Sample, answer: Answer, generate: Any) -> list[Score]:
            return list(
                await judge_answer(
                    sample, answer, graph, generate, judge_id=judge_model.name, compat=compat, repeats=repeats
                )
            )

        with progress(f"{judge_model.name} judges", len(answers)) as advance:
            _registry.register_verdicts(
                _registry.Verdicts(run_.samples, answers, weigh, advance), folder.name
            )
            name = judge_model.slug + ("-compat" if compat else "")
            logs = evaluate(
                [_registry.judging(answers=folder.name, judge=name)],
                open_model(judge_model, sampling),
                folder / "logs" / "judges" / f"{name}-x{repeats}",
                sampling,
            )
        samples = [s for log in logs for s in samples_in(log) if str(s.id) in answers]
        if samples and all(_error(s) for s in samples):
            raise RunFailed(
                f"{folder}: {judge_model.name} judged nothing; the first error: {_error(samples[0])}"
            )
        scores = list(verdicts_of(samples, answers, judge_model.name, compat=compat))
        record.write_records(folder / "judgements" / f"{name}.jsonl", scores)
        judges = tuple(sorted({*run_.manifest.judges, judge_model.name}))
        record.write_manifest(folder, replace(run_.manifest, judges=judges))
        write_scores(folder, lambda: graph)
    return folder


def judged_id(answer: Answer) -> str:
    """Id of an answer for its judges; it holds the text's hash, so another answer is another thing to judge."""
    digest = hashlib.sha256(answer.text.encode()).hexdigest()[:8]
    return f"{answer.sample_id}#{answer.epoch}@{digest}"


def write_scores(folder: Path, load_graph: Callable[[], Graph]) -> None:
    """Compute the deterministic scores of a run's answers and write them with those of its judges."""
    from arena.knowledge_judge import knowledge_scores
    from arena.metrics import score

    run_ = record.read_answers(folder)
    graph = load_graph()
    scores: list[Score] = []
    for answer in run_.answers:
        sample = run_.samples[answer.sample_id]
        scores += score(sample, answer, graph)
        scores += knowledge_scores(sample, answer, graph)
    answered = {(a.sample_id, a.epoch) for a in run_.answers}
    for path in sorted((folder / "judgements").glob("*.jsonl")):
        scores += [s for s in record.read_scores(path) if (s.sample_id, s.epoch) in answered]
    record.write_records(folder / record.SCORES, scores)


# ---- the engine -------------------------------------------------------------------------------------------


def evaluate(tasks: list[Any], model: Model, log_dir: Path, sampling: Sampling) -> list[str]:
    """Run tasks to the end, or to what the endpoint allows, and return where their newest logs are.

    A sample that fails is tried again twice, then kept as an error; the log then counts as unfinished, so
    the same call tries those samples again and no others.
    """
    log_dir.mkdir(parents=True, exist_ok=True)
    _whole_logs(log_dir)
    with _buffer_in(log_dir), _engine_errors():
        eval_set(
            tasks,
            log_dir=str(log_dir),
            model=model,
            retry_attempts=0,
            retry_immediate=False,
            retry_on_error=1,
            fail_on_error=True,
            continue_on_fail=True,
            log_realtime=True,
            log_buffer=20,
            log_format="eval",
            log_level="error",
            log_dir_allow_dirty=True,
            display="none",
            score=False,
            max_tasks=1,  # a kill then loses the calls in flight of one task only
            max_samples=sampling.connections,
            max_connections=sampling.connections,
            max_retries=sampling.retries,
            timeout=sampling.timeout_s,
            temperature=sampling.temperature,
            max_tokens=sampling.max_tokens,
            seed=sampling.seed,
        )
    return newest_logs(log_dir, {task.name for task in tasks})


def newest_logs(log_dir: Path, names: set[str]) -> list[str]:
    """Where the newest finished log of each task is, in the order of their names.

    After a kill the dead ``started`` logs stay in the folder, and recovering one leaves a copy; neither
    counts.
    """
    newest: dict[str, tuple[str, str]] = {}
    for info in list_eval_logs(str(log_dir)):
        header = read_eval_log(info.name, header_only=True)
        if header.status in ("success", "error") and header.eval.task in names:
            found = (header.stats.completed_at or header.eval.created, info.name)
            newest[header.eval.task] = max(newest.get(header.eval.task, ("", "")), found)
    return [name for _task, (_when, name) in sorted(newest.items())]


def samples_in(log: str) -> list[EvalSample]:
    """Samples of a log, their long texts put back; one log at a time, for their transcripts are large."""
    return read_eval_log(log, resolve_attachments="full").samples or []


def open_model(contestant: Contestant, sampling: Sampling) -> Model:
    """The engine's model of a contestant; keys come from the environment and are not written anywhere."""
    arguments: dict[str, Any] = dict(contestant.args)
    if contestant.base_url:
        _answers(contestant.base_url)
        arguments |= {"base_url": contestant.base_url, "api_key": os.environ.get("OPENAI_API_KEY") or "none"}
    with _engine_errors():
        return get_model(contestant.model, memoize=False, **arguments)


def _answers(base_url: str) -> None:
    """Raise `InputError` where nobody listens, instead of letting every sample find that out."""
    import urllib.error
    import urllib.request

    request = urllib.request.Request(f"{base_url.rstrip('/')}/models")
    try:
        urllib.request.urlopen(request, timeout=10).close()
    except urllib.error.HTTPError:
        return  # it speaks HTTP; whether it lists models or wants a key is for the first call to find out
    except (urllib.error.URLError, TimeoutError, ConnectionError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise InputError(f"{base_url}: no server answers ({reason}); start it, or mend --base-url") from None


def open_generate(judge_model: Contestant) -> Generate:
    """A judge's model as a plain async function, outside any run."""
    model = open_model(judge_model, Sampling())
    return _registry.JudgeModel(lambda: model)


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
def _engine_errors() -> Iterator[None]:
    """Turn what the engine says about keys, packages and names into one line."""
    from inspect_ai._util.error import PrerequisiteError

    try:
        yield
    except PrerequisiteError as error:
        raise InputError(_plain(str(error.message))) from None
    except (ValueError, ImportError) as error:
        if "not recognized" in str(error) or "pip install" in str(error) or "API" in str(error):
            raise InputError(_plain(str(error))) from None
        raise


def _plain(text: str) -> str:
    from rich.text import Text

    return " ".join(Text.from_markup(text).plain.split()).removeprefix("ERROR: ")


def _whole_logs(log_dir: Path) -> None:
    """Refuse to go on over a log that cannot be read: resuming would ask its samples again."""
    for info in list_eval_logs(str(log_dir)):
        path = Path(info.name.removeprefix("file://"))
        try:
            read_eval_log(info.name, header_only=True)
        except Exception as error:
            raise InputError(
                f"{path}: a half-written log ({type(error).__name__}: {error}); move it away and run the same "
                "command again: the answers in other logs are kept, those in this one are asked again"
            ) from error


@contextmanager
def _buffer_in(log_dir: Path) -> Iterator[None]:
    """Keep the engine's crash buffer inside the run, so that a run that is moved or whose home is wiped
    resumes.
    """
    before = os.environ.get("XDG_DATA_HOME")
    os.environ["XDG_DATA_HOME"] = str(log_dir.resolve() / ".buffer")
    try:
        yield
    finally:
        if before is None:
            del os.environ["XDG_DATA_HOME"]
        else:
            os.environ["XDG_DATA_HOME"] = before


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
        task = _task_of(read_eval_log(log, header_only=True))
        found += [_answer(sample, task, manifest.contestant, prices) for sample in samples_in(log)]
    return sorted(found, key=lambda a: (a.sample_id, a.epoch))


def _task_of(log: EvalLog) -> TaskName:
    name: TaskName = log.eval.task.removeprefix("arena/")
    return name


def _answer(sample: EvalSample, task: TaskName, contestant: str, prices: Sequence[float] | None) -> Answer:
    facts, error = _facts(sample), _error(sample)
    text = str(facts.get("text", ""))
    parsed, refused = (None, False) if error else read_reply(task, text)
    tokens_in, tokens_out = facts.get("tokens", (0, 0))
    cost = None if prices is None else (tokens_in * prices[0] + tokens_out * prices[1]) / 1e6
    return Answer(
        sample_id=str(sample.id),
        contestant=contestant,
        task=task,
        text=text,
        parsed=parsed,
        format_ok=parsed is not None,
        refused=refused or (parsed is None and facts.get("stopped") == "content_filter"),
        usage=Usage(tokens_in, tokens_out, cached=bool(facts.get("cached")), cost_usd=cost),
        latency_s=float(facts.get("latency_s", 0.0)),
        epoch=sample.epoch,
        model=str(facts.get("model", "")),
        error=error,
        prompt=str(facts.get("prompt", "")),
    )


def _facts(sample: EvalSample) -> dict[str, Any]:
    """What the solver noted last; empty for a sample that failed."""
    notes = [e.data for e in sample.events if e.event == "info" and e.source == _registry.NOTE]
    return dict(notes[-1]) if notes else {}


def _error(sample: EvalSample) -> str:
    if sample.error is not None:
        return reason(sample.error.message)
    return "" if _facts(sample) else "the log holds no reply"


def reason(message: str) -> str:
    """What went wrong, without the request that the engine prints before it."""
    last = message.replace("\\n", "\n").rsplit("\n\n", 1)[-1]
    return " ".join(last.split())[:500].replace("\\'", "'").strip("')\"\\") or "the engine gives no reason"


def verdicts_of(
    samples: Sequence[EvalSample], answers: Mapping[str, Answer], judge_id: str, *, compat: bool
) -> Iterator[Score]:
    """Scores of one judge, in the order of the answers; an answer it could not be asked about is unscored."""
    for sample in sorted(samples, key=lambda s: str(s.id)):
        answer = answers[str(sample.id)]
        if not _error(sample):
            yield from (Score(**value) for value in _facts(sample)["scores"])
        else:
            yield Score(
                answer.sample_id,
                answer.contestant,
                answer.task,
                scorer=f"{judge_id}:sc-arena" if compat else judge_id,
                dimension="total",
                value=None,
                reason=f"the judge did not reply: {_error(sample)}",
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
        engine=f"{ENGINE} {version(ENGINE)}",
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
    root = Path(__file__).parent.parent
    if git is None or not (root / ".git").exists():
        return ""
    found = subprocess.run(
        [git, "-C", str(root), "rev-parse", "HEAD"], capture_output=True, text=True, check=False
    )
    return found.stdout.strip()
