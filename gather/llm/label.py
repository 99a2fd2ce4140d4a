"""The label in one call: at most one prompt a cell set, after retrieval, never during it.

Every prompt begins with the same bytes (instructions, then the candidates of the whole run), so that a
server attends to them once; the evidence of the cell set comes last. A reply that is no answer
(nothing, prose, an id that was not offered) leaves the label of retrieval in place and is counted by
its reason; so does, where nobody declared the candidates, a choice that nothing measured supports.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from gather.annotation import Annotation
from gather.labelling.decide import supported
from gather.llm.base import estimate_prompt_tokens
from gather.llm.client import Client, Counted, Counters, Message, ModelFailure, concurrently
from gather.llm.evidence_text import EvidenceKind, evidence_text, plain
from vckg.base.prompts import load_prompt

MOST_CANDIDATES = 200
"""Of an open run: the prefix stays short enough for small models, and schemas with more are refused by
some."""
MOST_REASONS = 5
COMPLETION_TOKENS = 60
"""Of an answer, for the estimate of a dry run: one id, five reasons and the frame."""
_UNSUPPORTED = "chosen by the model without support from retrieval"
_CURIE = re.compile(r"[A-Za-z]+[:_]\d+")

Fallback = Literal["no_reply", "not_json", "no_id", "outside_candidates", "unsupported"]
Term = tuple[str, str]
"""CURIE and name."""


@dataclass(frozen=True, slots=True)
class LabelRun:
    """Annotations after the model was heard, and what that took.

    `fallbacks` counts by reason the cell sets that kept retrieval's label although the model was asked;
    `not_asked` those with nothing to ask about.
    """

    annotations: tuple[Annotation, ...]
    counters: Counters
    prompts: tuple[str, ...]
    """Ids of the prompt files."""
    fallbacks: Mapping[str, int] = field(default_factory=dict)
    not_asked: int = 0

    def summary(self, model: str) -> dict[str, str | int]:
        """Plain values for ``uns``, the page and JSON."""
        counts = self.counters
        return {
            "model": model,
            "prompts": "|".join(self.prompts),
            "calls": counts.calls,
            "cached": counts.cached,
            "failures": counts.failures,
            "retries": counts.retries,
            "prompt_tokens": counts.prompt_tokens,
            "completion_tokens": counts.completion_tokens,
            "tokens_estimated": int(counts.estimated),
            "fallbacks": "|".join(f"{reason}:{n}" for reason, n in self.fallbacks.items()) or "none",
            "not_asked": self.not_asked,
        }


@dataclass(frozen=True, slots=True)
class DryRun:
    """What a run would ask; tokens are estimates (`gather.llm.base.estimate_tokens`)."""

    cell_sets: int
    calls: int
    """Prompts that differ and are in no cache."""
    cached: int
    prompt_tokens: int
    shared_prefix_tokens: int
    """Of each prompt, the beginning that all have in common; a server that shares prefixes reads it once."""
    completion_tokens: int


def label_with_llm(
    annotations: Sequence[Annotation],
    model: Counted,
    *,
    candidates: Sequence[Term] | None = None,
    tissue: str = "",
    kind: EvidenceKind = "both",
    budget_tokens: int = 1500,
    most_items: int | None = None,
    needs_support: bool | None = None,
    workers: int = 8,
    done: Callable[[float], None] = lambda _steps: None,
) -> LabelRun:
    """Let a model choose among the candidates of each cell set.

    Parameters
    ----------
    annotations
        What retrieval found, with evidence.
    candidates
        The declared list of a closed run. In an open run, and where the list is longer than 200: the best of
        every cell set, the same list for all.
    kind, budget_tokens, most_items
        Of the evidence in the prompt, see `gather.llm.evidence_text.evidence_text`.
    needs_support
        Whether a choice must be supported as retrieval's answers are (`gather.labelling.decide.supported`): it or a kind of
        it is no chance find. Names that other cell sets brought into the shared list are no answer to this
        one. By default where no list is declared.
    workers
        Calls under way at once.

    Raises
    ------
    InputError
        The endpoint refuses the key, or knows no such model.
    """
    terms = offered(annotations, candidates)
    if needs_support is None:
        needs_support = candidates is None
    schema = answer_schema(terms)
    prompts = list(label_prompts(annotations, terms, tissue, kind, budget_tokens, most_items))
    before = model.counters

    def ask(at: int) -> tuple[Annotation, Fallback | None]:
        prompt = prompts[at]
        assert prompt is not None
        return _heard(annotations[at], model, prompt, schema, terms, needs_support)

    asked = [at for at, prompt in enumerate(prompts) if prompt is not None]
    heard = dict(zip(asked, concurrently(ask, asked, workers=workers, model=model, done=done), strict=True))
    return LabelRun(
        annotations=tuple(heard[at][0] if at in heard else a for at, a in enumerate(annotations)),
        counters=model.counters - before,
        prompts=(load_prompt("gather/label-system").id, load_prompt("gather/label-user").id),
        fallbacks=dict(sorted(Counter(why for _, why in heard.values() if why).items())),
        not_asked=len(annotations) - len(asked),
    )


def dry_run(
    annotations: Sequence[Annotation],
    client: Client | None = None,
    *,
    candidates: Sequence[Term] | None = None,
    tissue: str = "",
    kind: EvidenceKind = "both",
    budget_tokens: int = 1500,
    most_items: int | None = None,
) -> DryRun:
    """Count the calls and tokens that `label_with_llm` would need; nothing is sent."""
    terms = offered(annotations, candidates)
    schema = answer_schema(terms)
    prompts = [
        p for p in label_prompts(annotations, terms, tissue, kind, budget_tokens, most_items) if p is not None
    ]
    different = list({json.dumps(prompt): prompt for prompt in prompts}.values())
    new = [p for p in different if client is None or not client.cached(p, schema=schema)]
    return DryRun(
        cell_sets=len(annotations),
        calls=len(new),
        cached=len(prompts) - len(new),
        prompt_tokens=sum(estimate_prompt_tokens(prompt) for prompt in new),
        shared_prefix_tokens=estimate_prompt_tokens(prompts[0][:1]) if prompts else 0,
        completion_tokens=COMPLETION_TOKENS * len(new),
    )


def offered(annotations: Sequence[Annotation], declared: Sequence[Term] | None) -> list[Term]:
    """Return what every prompt lists: a declared list of bearable length, else the shared candidates."""
    if declared is not None and len(declared) <= MOST_CANDIDATES:
        return list(declared)
    return shared_candidates(annotations)


def shared_candidates(annotations: Sequence[Annotation], *, most: int = MOST_CANDIDATES) -> list[Term]:
    """Return the candidates all prompts of an open run list: the best of every cell set, by CURIE.

    As many of each set as keep the whole within `most`; every set's answer and best candidate stay in
    any case.
    """
    deepest = max((len(a.candidates) for a in annotations), default=0)
    for depth in range(deepest, 0, -1):
        terms = {c.curie: c.label for a in annotations for c in a.candidates[:depth]}
        terms |= {a.curie: a.label for a in annotations if a.curie}
        if len(terms) <= most or depth == 1:
            return sorted(terms.items())
    return []


def label_prompts(
    annotations: Sequence[Annotation],
    terms: Sequence[Term],
    tissue: str,
    kind: EvidenceKind,
    budget_tokens: int,
    most_items: int | None,
) -> Iterator[list[Message] | None]:
    """Yield the chat messages for each cell set; None where there is nothing to ask about."""
    listed = "\n".join(f"{curie} {plain(name)}" for curie, name in terms)
    system: Message = {
        "role": "system",
        "content": load_prompt("gather/label-system").render(candidates=listed),
    }
    user = load_prompt("gather/label-user")
    for annotation in annotations:
        if annotation.status == "ungrounded" or not annotation.candidates or not terms:
            yield None
            continue
        text = user.render(
            tissue=plain(tissue) or "not given",
            genes=", ".join(plain(gene) for gene in annotation.query_genes),
            evidence=evidence_text(annotation, kind=kind, budget_tokens=budget_tokens, most_items=most_items),
        )
        yield [system, {"role": "user", "content": text}]


def answer_schema(terms: Sequence[Term]) -> dict[str, Any]:
    """Return the JSON schema of an answer: an id of the list and the evidence that decided it."""
    return {
        "type": "object",
        "properties": {
            "cell_type_ontology_term_id": {"type": "string", "enum": [curie for curie, _ in terms]},
            "reasons": {"type": "array", "items": {"type": "string"}, "maxItems": MOST_REASONS},
        },
        "required": ["cell_type_ontology_term_id", "reasons"],
        "additionalProperties": False,
    }


class Unusable(Exception):
    """A reply that is no answer; `reason` is counted."""

    def __init__(self, reason: Fallback, said: str) -> None:
        super().__init__(said)
        self.reason = reason


def read_answer(text: str, terms: Sequence[Term]) -> tuple[str, tuple[str, ...]]:
    """Return the chosen CURIE and the reasons of a reply.

    The last JSON object in the reply is the answer; a chosen name stands for its id where it is one of
    the list.

    Raises
    ------
    Unusable
        No JSON object, no id in it, or an id that was not offered.
    """
    answer = last_json_object(text)
    if answer is None:
        raise Unusable("not_json", f"no JSON object in {plain(text)!r}")
    chosen = answer.get("cell_type_ontology_term_id")
    if not isinstance(chosen, str) or not chosen.strip():
        raise Unusable("no_id", f"no cell_type_ontology_term_id in {plain(text)!r}")
    curie = term_of(chosen, terms)
    if curie is None:
        raise Unusable("outside_candidates", f"{plain(chosen)!r} was not offered")
    named = answer.get("reasons")
    reasons = [r for r in named if isinstance(r, str)] if isinstance(named, list) else []
    return curie, tuple(dict.fromkeys(reasons))[:MOST_REASONS]


def term_of(chosen: str, terms: Sequence[Term]) -> str | None:
    """Return the offered CURIE that a model's words mean: an id, ``id name``, or exactly an offered name."""
    offered = {curie for curie, _ in terms}
    for found in _CURIE.findall(chosen):
        if (curie := str(found).replace("_", ":").upper()) in offered:
            return curie
    by_name = {plain(name).casefold(): curie for curie, name in terms}
    return by_name.get(chosen.strip().casefold())


def last_json_object(text: str) -> dict[str, Any] | None:
    """Return the last complete JSON object at the top level of a text; None where there is none."""
    decoder = json.JSONDecoder()
    found: dict[str, Any] | None = None
    at = text.find("{")
    while at >= 0:
        try:
            value, end = decoder.raw_decode(text, at)
        except (ValueError, RecursionError):
            end = at + 1
        else:
            found = value
        at = text.find("{", end)
    return found


def _heard(
    annotation: Annotation,
    model: Counted,
    prompt: list[Message],
    schema: Mapping[str, Any],
    terms: Sequence[Term],
    needs_support: bool,
) -> tuple[Annotation, Fallback | None]:
    try:
        reply = model.complete(prompt, schema=schema)
        curie, reasons = read_answer(reply.text, terms)
    except ModelFailure as failure:
        return _fallen_back(annotation, "no_reply", f"the model gave no answer: {failure}")
    except Unusable as unusable:
        return _fallen_back(annotation, unusable.reason, f"the model gave no answer: {unusable}")
    known = {item.id for item in (*annotation.evidence, *annotation.convergence)}
    own = annotation.standing(curie)
    confidence, fdr = (own.confidence, own.fdr) if own else (0.0, 1.0)
    if curie == annotation.curie:
        confidence, fdr = annotation.confidence, annotation.fdr
    elif needs_support and not supported(fdr):
        return _fallen_back(annotation, "unsupported", f"{dict(terms)[curie]} ({curie}) was {_UNSUPPORTED}")
    return (
        replace(
            annotation,
            status=annotation.status if curie == annotation.curie else "named",
            curie=curie,
            label=dict(terms)[curie],
            confidence=confidence,
            fdr=fdr,
            decided_by="llm",
            reasons=tuple(r for r in reasons if r in known),
            note=annotation.note if own or curie == annotation.curie else _noted(annotation, _UNSUPPORTED),
        ),
        None,
    )


def _fallen_back(annotation: Annotation, reason: Fallback, said: str) -> tuple[Annotation, Fallback]:
    return replace(annotation, decided_by="fallback", note=_noted(annotation, said)), reason


def _noted(annotation: Annotation, remark: str) -> str:
    return f"{annotation.note}; {remark}" if annotation.note else remark
