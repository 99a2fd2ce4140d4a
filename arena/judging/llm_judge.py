"""Judges that see the graph: an answer, its reference and numbered evidence in; checked ratings out.

`judge` asks a model through an injected `Generate` and knows nothing of the run engine. Against what judges are
known to do wrong: the answer is shown in its parsed form between marker lines with a code it cannot know, is
declared to be data, and is cut at a length; the contestant is not named; the order of reference and answer changes
with the sample and the repeat, behind evidence that stands still; ratings come in a JSON schema with anchors,
cited evidence must exist and be quoted, and the total is computed here. A reply that cannot be used is asked for
once more and then *unscored*; it never becomes a 0.

`arena.judging.graph_judge` is the judge that needs no model.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from arena.judging.evidence import Evidence, evidence
from arena.judging.rubric import RUBRICS, TOP, rubric_text, total, verdict_schema
from arena.judging.verdict import UnusableReplyError, parse_compat, parse_verdict
from arena.official import Official, official_score
from arena.tasks import TASK_TABLE
from arena.types import Answer, Generate, JudgeCallError, Reply, Sample, Score, TaskName
from vckg.base.prompts import load_prompt
from vckg.graph.graph import Graph

LONGEST_ANSWER: Final = 6000
"""Letters of an answer that a judge sees."""
LONGEST_FIELD: Final = 1500

COMPAT_SUFFIX: Final = ":sc-arena"


async def judge(
    sample: Sample,
    answer: Answer,
    graph: Graph,
    generate: Generate,
    *,
    judge_id: str,
    compat: bool = False,
    official: Official | None = None,
    repeats: int = 1,
    seed: int = 0,
) -> list[Score]:
    """Let a model rate one answer.

    Parameters
    ----------
    generate
        How the model is reached.
    judge_id
        Name of the judge; the scores' `scorer` (with ``:sc-arena`` behind it for the compatible scale).
    compat
        Use SC-Arena's holistic 0-5 scale in place of the rubric.
    official
        Use its own words, parser and rules as well.
    repeats
        Times the answer is rated, each with another order of what is shown, all asked at once; ratings are averaged.

    Returns
    -------
    list of Score
        Every dimension of the rubric and ``total``, all in 0..1; None where unscored. A reply without an
        answer is 0 without a call; a contestant's failed call is unscored.
    """
    scorer = judge_id + (COMPAT_SUFFIX if compat else "")
    if official is not None:
        return [await _rate_officially(sample, answer, official, generate, scorer)]
    form = _CompatForm() if compat else _RubricForm()
    if settled := answer.without_reading:
        return [Score.of(answer, scorer, name, *settled) for name in (*form.names(sample.task), "total")]
    known = evidence(sample, answer, graph)
    # Together, so that a server finds their common beginning still in its cache.
    rounds = await asyncio.gather(
        *(_rate(form, sample, answer, known, generate, seed + turn) for turn in range(repeats))
    )
    return _merge(sample, answer, scorer, form, rounds)


async def _rate_officially(
    sample: Sample, answer: Answer, official: Official, generate: Generate, scorer: str
) -> Score:
    """Rate an answer as SC-Arena does: one call, its words, its parser; a failed call stays unscored."""
    prompt = f"sc-arena@{official.digest(sample.task)}"
    total = Score.of(answer, scorer, "total", None, f"call failed: {answer.error}", prompt=prompt)
    if answer.error:
        return total
    asked = official.asked(sample, answer.text)
    if asked is None:
        return replace(total, value=1.0, reason="the type's own name")
    try:
        reply = await generate(asked.system, asked.prompt, None)
    except JudgeCallError as error:
        return replace(total, reason=f"the judge's call failed: {error}")
    found = _Round()
    found.add(reply)
    spent = {
        "model": found.model,
        "input_tokens": found.input_tokens,
        "output_tokens": found.output_tokens,
    }
    told = reply.text.strip()[-LONGEST_FIELD:]
    return replace(total, value=official_score(reply.text), reason=told, metadata={**total.metadata, **spent})


@dataclass(slots=True)
class _Round:
    """What one asking brought."""

    ratings: dict[str, float] | None = None
    reasons: dict[str, str] = field(default_factory=dict)
    rationale: str = ""
    problem: str = ""
    model: str = ""
    cited: list[dict[str, str]] = field(default_factory=list)
    refused_citations: int = 0
    repaired: bool = False
    input_tokens: int = 0
    output_tokens: int = 0

    def add(self, reply: Reply) -> None:
        """Note who replied, and the tokens it took."""
        self.model = reply.model
        self.input_tokens += reply.usage.input_tokens
        self.output_tokens += reply.usage.output_tokens


class _RubricForm:
    """The rubric of this arena: JSON in, ratings of every dimension out."""

    template = "arena/judge-rubric"

    def names(self, task: TaskName) -> list[str]:
        return [d.name for d in RUBRICS[task]]

    def total(self, task: TaskName, ratings: Mapping[str, float | None]) -> float | None:
        return total(task, ratings)

    def prompt(self, sample: Sample, answer: Answer, known: Sequence[Evidence], seed: int) -> str:
        blocks = [
            f"REFERENCE\n{TASK_TABLE[sample.task].reference(sample)}",
            f"ANSWER\n{delimited(answer_text(answer), sample.id, seed)}",
        ]
        if (_coin(sample.id) + seed) % 2:  # in turns, so that repeats see both orders equally often
            blocks.reverse()
        return load_prompt(self.template).render(
            question=TASK_TABLE[sample.task].question(sample),
            first=blocks[0],
            second=blocks[1],
            evidence="\n".join(e.line() for e in known) or "(none)",
            rubric=rubric_text(sample.task),
            form=_form_example(sample.task),
        )

    def schema(self, sample: Sample, known: Sequence[Evidence]) -> dict[str, Any] | None:
        return verdict_schema(sample.task, {e.id: e.quotable() for e in known})

    def read(self, text: str, task: TaskName, known: Sequence[Evidence], found: _Round) -> None:
        verdict, refused = parse_verdict(text, task, known)
        found.ratings = {name: float(r.rating) for name, r in verdict.dimensions.items()}
        found.reasons = {name: r.reason for name, r in verdict.dimensions.items()}
        found.rationale = verdict.rationale
        found.cited = [c.model_dump() for c in verdict.evidence]
        found.refused_citations = refused


class _CompatForm:
    """SC-Arena's form: one holistic 0-5 score in the text."""

    def names(self, task: TaskName) -> list[str]:
        return []

    def total(self, task: TaskName, ratings: Mapping[str, float | None]) -> float | None:
        rating = ratings.get("total")
        return None if rating is None else rating / TOP

    def template_of(self, task: TaskName) -> str:
        return f"arena/judge-sc-arena-{task}"

    def prompt(self, sample: Sample, answer: Answer, known: Sequence[Evidence], seed: int) -> str:
        return load_prompt(self.template_of(sample.task)).render(
            question=TASK_TABLE[sample.task].question(sample),
            reference=TASK_TABLE[sample.task].reference(sample),
            evidence="\n".join(e.line() for e in known) or "Not found",
            answer=delimited(answer_text(answer), sample.id, seed),
        )

    def schema(self, sample: Sample, known: Sequence[Evidence]) -> dict[str, Any] | None:
        return None

    def read(self, text: str, task: TaskName, known: Sequence[Evidence], found: _Round) -> None:
        found.ratings = {"total": parse_compat(text)}
        found.rationale = text.strip()[-LONGEST_FIELD:]


async def _rate(
    form: _RubricForm | _CompatForm,
    sample: Sample,
    answer: Answer,
    known: Sequence[Evidence],
    generate: Generate,
    seed: int,
) -> _Round:
    """Ask, and ask once more where the reply cannot be used."""
    found = _Round()
    system = load_prompt("arena/judge-system").render()
    request = form.prompt(sample, answer, known, seed)
    prompt = request
    for attempt in range(2):
        try:
            reply = await generate(system, prompt, form.schema(sample, known))
        except JudgeCallError as error:
            found.problem = f"the judge's call failed: {error}"
            return found
        found.add(reply)
        try:
            form.read(reply.text, sample.task, known, found)
        except UnusableReplyError as error:
            found.problem = str(error)
            prompt = load_prompt("arena/judge-repair").render(request=request, problem=found.problem)
            continue
        found.problem, found.repaired = "", attempt > 0
        return found
    return found


def _merge(
    sample: Sample, answer: Answer, scorer: str, form: _RubricForm | _CompatForm, rounds: Sequence[_Round]
) -> list[Score]:
    """Average the rounds that were rated; unscored where none was."""
    rated = [r for r in rounds if r.ratings is not None]
    last = (rated or rounds)[-1]
    totals = [t for r in rated if (t := form.total(sample.task, dict(r.ratings or {}))) is not None]
    scores = []
    for name in form.names(sample.task):
        given = [(r.ratings or {})[name] / TOP for r in rated]
        value = statistics.fmean(given) if given else None
        scores.append(Score.of(answer, scorer, name, value, last.reasons.get(name, last.problem)))
    template = form.template if isinstance(form, _RubricForm) else form.template_of(sample.task)
    scores.append(
        Score.of(
            answer,
            scorer,
            "total",
            statistics.fmean(totals) if totals else None,
            last.rationale or last.problem,
            prompt=load_prompt(template).id,
            model=last.model,
            cited=last.cited,
            refused_citations=sum(r.refused_citations for r in rounds),
            repaired=any(r.repaired for r in rounds),
            repeats=len(rounds),
            rated=len(rated),
            spread=statistics.pstdev(totals) if len(totals) > 1 else 0.0,
            input_tokens=sum(r.input_tokens for r in rounds),
            output_tokens=sum(r.output_tokens for r in rounds),
        )
    )
    return scores


# ---- what a judge is shown --------------------------------------------------------------------------------


def delimited(text: str, sample_id: str, seed: int) -> str:
    """The answer between two marker lines whose code follows from the answer itself, so that it cannot hold
    it.
    """
    code = hashlib.sha256(f"{seed}\n{sample_id}\n{text}".encode()).hexdigest()[:16]
    return f"<<<answer {code}>>>\n{text}\n<<<end of answer {code}>>>"


def _coin(item: str) -> int:
    return hashlib.sha256(item.encode()).digest()[0] & 1


def answer_text(answer: Answer) -> str:
    """Return the bound answer as a judge reads it: never the whole reply, never who wrote it."""
    text = TASK_TABLE[answer.task].shown(answer.parsed or {})
    return text if len(text) <= LONGEST_ANSWER else text[:LONGEST_ANSWER] + " [cut here]"


def _form_example(task: TaskName) -> str:
    """The shape of a verdict, with words where values go."""
    dimensions = {
        d.name: {"rating": "a whole number of the rubric", "reason": "why, in one sentence"}
        for d in RUBRICS[task]
    }
    citation = {"id": "E1", "quote": "words that stand there", "stance": "supports or contradicts"}
    return json.dumps({"dimensions": dimensions, "evidence": [citation], "rationale": "two sentences"})
