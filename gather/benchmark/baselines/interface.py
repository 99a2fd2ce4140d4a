"""Question, dialogue and outcome that all methods share.

An unreadable reply counts as misread and has the effect that each method documents. A model that gives no reply
ends the question without a label. Either way the question counts, with a wrong answer.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gather.benchmark.baselines.graph_view import GraphView
from gather.llm.base import Message, Model, ModelFailure, Schema
from gather.llm.evidence_text import in_prompt
from gather.llm.label import Term, Unusable, answer_schema, last_json_object, read_answer
from vckg.base.prompts import load_prompt

STRING: Schema = {"type": "string"}
INTEGER: Schema = {"type": "integer"}
NUMBER: Schema = {"type": "number"}
BOOLEAN: Schema = {"type": "boolean"}


def list_of(item: Schema, *, most: int) -> Schema:
    """Return the JSON schema of a list of at most `most` items."""
    return {"type": "array", "items": item, "maxItems": most}


def _object_of(form: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(form),
        "required": list(form),
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Question:
    """Which cell type expresses these genes?

    Attributes
    ----------
    genes
        Graph nodes, most distinctive first.
    symbols
        Their names, as the question prints them.
    candidates
        What may be answered; the same for all methods.
    seeds
        How many of `genes` may become topic entities: the stated knob of the comparison.
    seed
        Of the random choices that some methods make.
    """

    genes: tuple[int, ...]
    symbols: tuple[str, ...]
    candidates: tuple[Term, ...]
    seeds: int = 10
    seed: int = 0

    @property
    def topics(self) -> tuple[int, ...]:
        """The genes that the methods start from."""
        return self.genes[: self.seeds]

    @property
    def text(self) -> str:
        """The question as all methods ask it."""
        return f"Which cell type expresses: {', '.join(in_prompt(symbol) for symbol in self.symbols)}?"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a method answered; `curie` is None where it gave no usable label, which is a wrong answer."""

    curie: str | None
    calls: int
    misread: int
    """Replies that could not be read, of `calls`."""
    stopped: str
    """How the method ended: ``sufficient``, ``half_stop``, ``depth``, ``answered``, ``failed``."""
    evidence: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Dialogue:
    """The calls of one question: every one is counted, every reply is JSON or misread.

    Every reply is held to a schema where the endpoint takes one, so that no method loses by its format.
    """

    question: Question
    model: Model
    calls: int = 0
    misread: int = 0
    evidence: list[str] = field(default_factory=list)

    def ask(self, prompt: str, form: Mapping[str, Any], **values: str) -> dict[str, Any]:
        """Ask one of the prompts of this package for an object of a form; an unreadable reply is an
        empty one.

        `form` maps the keys of the object to the JSON schemas of their values.
        """
        text = load_prompt(f"gather/baselines/{prompt}").render(question=self.question.text, **values)
        return self._object(self._complete(text, schema=_object_of(form)))

    def pick(
        self, prompt: str, options: Sequence[str], *, scored: bool, **values: str
    ) -> list[tuple[int, float]]:
        """Let the model choose among numbered options; (position, score), best first, ties by position.

        The reply is ``{"chosen": [{"number": 1, "score": 0.7}, ...]}``, or ``{"chosen": [1, 4]}`` where
        no scores are wanted (1 each). Numbers that were not offered are left out; where nothing is left
        the reply is misread.
        """
        listed = "\n".join(f"{number}. {option}" for number, option in enumerate(options, 1))
        item = _object_of({"number": INTEGER, "score": NUMBER}) if scored else INTEGER
        form = {"chosen": list_of(item, most=len(options))}
        chosen = self.ask(prompt, form, options=listed, **values).get("chosen")
        scores: dict[int, float] = {}
        for entry in chosen if isinstance(chosen, list) else ():
            number, score = _numbered(entry)
            if number is not None and 1 <= number <= len(options) and score > 0:
                scores.setdefault(number - 1, score)
        if chosen is not None and not scores and chosen != []:
            self.misread += 1
        return sorted(scores.items(), key=lambda pair: (-pair[1], pair[0]))

    def try_to_answer(
        self, evidence: Sequence[str], prompt: str = "enough", *, also: str | None = None, **values: str
    ) -> dict[str, Any]:
        """Ask whether the evidence is enough, for the answer where it is, and for a text `also` where
        it is not.

        Returns the reply's object with ``curie`` added: the chosen candidate, or None (also where the
        reply says ``"sufficient": false``).
        """
        text = load_prompt(f"gather/baselines/{prompt}").render(
            question=self.question.text, evidence="\n".join(evidence) or "(none)", **values
        )
        form: dict[str, Any] = {"sufficient": BOOLEAN}
        form |= answer_schema(self.question.candidates)["properties"]
        form |= {also: STRING} if also else {}
        messages: list[Message] = [self._rules(), {"role": "user", "content": text}]
        reply = self._object(self._complete(messages, schema=_object_of(form)))
        curie = None
        if reply.get("sufficient") in (True, "true", "yes", "Yes"):
            try:
                curie, _ = read_answer(json.dumps(reply), self.question.candidates)
            except Unusable:
                self.misread += 1
        return {**reply, "curie": curie}

    def answer(self, evidence: Sequence[str], *, stopped: str) -> Outcome:
        """The final call of every method: same prompt, candidates and schema, other evidence."""
        self.evidence = list(evidence)
        text = load_prompt("gather/label-user").render(
            tissue="not given",
            genes=", ".join(in_prompt(symbol) for symbol in self.question.symbols),
            evidence="\n".join(evidence),
        )
        prompt: list[Message] = [self._rules(), {"role": "user", "content": text}]
        reply = self._complete(prompt, schema=answer_schema(self.question.candidates))
        try:
            curie, _ = read_answer(reply, self.question.candidates)
        except Unusable as unusable:
            self.misread += 1
            return self.outcome(None, stopped=stopped, note=str(unusable))
        return self.outcome(curie, stopped=stopped)

    def outcome(self, curie: str | None, *, stopped: str, note: str = "") -> Outcome:
        """Close the dialogue."""
        return Outcome(curie, self.calls, self.misread, stopped, tuple(self.evidence), note)

    def _rules(self) -> Message:
        listed = "\n".join(f"{curie} {in_prompt(name)}" for curie, name in self.question.candidates)
        return {"role": "system", "content": load_prompt("gather/label-system").render(candidates=listed)}

    def _complete(self, prompt: str | list[Message], *, schema: Schema | None = None) -> str:
        self.calls += 1
        return self.model.complete(prompt, schema=schema).text

    def _object(self, text: str) -> dict[str, Any]:
        found = last_json_object(text)
        if found is None:
            self.misread += 1
            return {}
        return found


Method = Callable[[Dialogue, GraphView], Outcome]


def attempt(method: Method, question: Question, kg: GraphView, model: Model) -> Outcome:
    """Run a method on one question; a model that does not answer makes a wrong answer, not a missing one."""
    talk = Dialogue(question, model)
    try:
        return method(talk, kg)
    except ModelFailure as failure:
        return talk.outcome(None, stopped="failed", note=str(failure))


def _numbered(entry: object) -> tuple[int | None, float]:
    """Read ``{"number": 3, "score": 0.2}``, ``3`` or ``"3"``."""
    value: Mapping[str, object] = entry if isinstance(entry, Mapping) else {"number": entry}
    try:
        number = int(str(value.get("number")))
        score = float(str(value.get("score", 1.0)))
    except ValueError:
        return None, 0.0
    return (number, score) if math.isfinite(score) else (None, 0.0)
