"""The pass of a run in which a model judges its answers; a judgement is a sample whose model is the judge."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING

from arena import run_folder
from arena.contestants.resolve import Contestant
from arena.judging.judgements import Judgements, text_digest
from arena.official import Official
from arena.runner.inspect_engine import Outcome, Sampling, evaluate, open_model, outcomes
from arena.runner.inspect_tasks import judging
from arena.runner.questions import Verdicts, register_verdicts
from arena.runner.run import RunFailed, locked, write_scores
from arena.tasks.samples import limited
from arena.types import Answer, Generate, Run, Sample, Score, TaskName, canonical_json
from vckg.base.console import progress

if TYPE_CHECKING:
    from vckg.graph.graph import Graph


def judge(
    folder: Path,
    judge_model: Contestant,
    load_graph: Callable[[], Graph],
    *,
    compat: bool = False,
    official: Official | None = None,
    repeats: int = 1,
    limit: int | None = None,
    sampling: Sampling | None = None,
) -> Path:
    """Let a model judge the answers of a run that it has not judged yet; return the folder.

    `repeats` ratings of one answer differ in the order of what is shown and are averaged. `limit` is the number of
    samples per task whose answers are judged, drawn by the run's seed: the same samples for every contestant.
    With `official` and `compat` SC-Arena's own words and rules are used, once an answer.

    Raises
    ------
    KnownError
        As `run`.
    """
    from arena.judging.llm_judge import judge as judge_answer

    sampling = replace(sampling or Sampling(), temperature=0.0)
    with locked(folder):
        run_ = run_folder.read_run(folder)
        drawn = _judged_samples(run_, limit)
        answers = {judged_id(a): a for a in run_.answers if not a.error and a.sample_id in drawn}
        graph = load_graph()

        def weigh(sample: Sample, answer: Answer, generate: Generate) -> Awaitable[list[Score]]:
            return judge_answer(
                sample,
                answer,
                graph,
                generate,
                judge_id=judge_model.name,
                compat=compat,
                official=official,
                repeats=repeats,
            )

        asked = _asked_of(judge_model, sampling, repeats, run_.manifest.tasks, compat, official)
        with progress(f"{judge_model.name} judges", len(answers)) as advance:
            register_verdicts(Verdicts(run_.samples, answers, weigh, advance), folder.name)
            name = judge_model.slug + ("-compat" if compat else "")
            logs = evaluate(
                [judging(answers=folder.name, judge=name)],
                open_model(judge_model, sampling),
                folder / "logs" / "judges" / f"{name}--{asked}",
                sampling,
            )
        results = [o for log in logs for o in outcomes(log) if o.id in answers]
        if results and all(o.error for o in results):
            raise RunFailed(
                f"{folder}: {judge_model.name} judged nothing; the first error: {results[0].error}"
            )
        known = Judgements(folder / "judgements", name, asked)
        judge_id = known.judge_id(judge_model)
        known.add(scores_of_judge(results, answers, judge_id, compat=compat), answers)
        judges = tuple(sorted({*run_.manifest.judges, judge_id}))
        run_folder.write_manifest(folder, replace(run_.manifest, judges=judges))
        write_scores(folder, lambda: graph)
    _refuse_unreadable(folder, judge_id, results, answers)
    return folder


def _refuse_unreadable(
    folder: Path, judge_id: str, results: Sequence[Outcome], answers: Mapping[str, Answer]
) -> None:
    """Raise where a judge was asked and none of its replies could be read."""
    asked = [o for o in results if answers[o.id].parsed is not None and not o.error]
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
    judge_model: Contestant,
    sampling: Sampling,
    repeats: int,
    tasks: Sequence[TaskName],
    compat: bool,
    official: Official | None,
) -> str:
    """Return the digest of what verdicts depend on besides the answer: prompts, limits, address."""
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
    } | ({"official": [official.digest(task) for task in tasks]} if official else {})
    return hashlib.sha256(canonical_json(parts).encode()).hexdigest()[:8]


def judged_id(answer: Answer) -> str:
    """Return the id of an answer for its judges; it holds the hash of the text, so another text is judged anew."""
    return f"{answer.sample_id}#{answer.epoch}@{text_digest(answer)}"


def scores_of_judge(
    results: Sequence[Outcome], answers: Mapping[str, Answer], judge_id: str, *, compat: bool
) -> Iterator[Score]:
    """Yield the scores of one judge in the order of the answers; an answer it was not asked about is unscored."""
    scorer = f"{judge_id}:sc-arena" if compat else judge_id
    for result in sorted(results, key=lambda o: o.id):
        answer = answers[result.id]
        if not result.error:
            yield from (Score(**{**value, "scorer": scorer}) for value in result.facts["scores"])
        else:
            yield Score.of(answer, scorer, "total", None, f"the judge did not reply: {result.error}")
