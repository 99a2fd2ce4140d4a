"""Output constrained by a JSON schema or a grammar: llguidance computes which tokens may come next.

A schema is bounded in bytes and in the length of each string, so that compiling it and each mask take a bounded time.
llguidance bounds the rest by its own limits. Compiled grammars are cached, since clients repeat them.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import ConstraintError, RequestError
from serve.request import SamplingParams

MAX_SCHEMA_BYTES = 65_536
MAX_STRING_CHARACTERS = 4_096
KEPT = 64
_PROSE = ("description", "title", "$comment", "examples")


class Grammar:
    """Compiles JSON schemas and grammars for one tokenizer; may be used from any thread.

    `vocabulary` is the width of the model's logits, `eos` are the tokens that may end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, eos: Iterable[int]) -> None:
        self._plain = tokenizer
        self._eos = sorted(eos)
        self._tokenizer: Any = None
        self._lock = threading.Lock()
        self._kept: OrderedDict[str, Constraint] = OrderedDict()
        self.vocabulary = vocabulary

    def start(self, params: SamplingParams) -> Constraint | None:
        """Begin an answer under the schema or the grammar of `params`; None where it has neither.

        JSON has no white space outside of strings: it could continue without end.

        Raises
        ------
        RequestError
            if the schema is too large, or llguidance cannot compile it.
        """
        if params.lark is not None:
            text, param = params.lark, "tools"
        elif params.json_schema is not None:
            text, param = checked_schema(params.json_schema), "response_format"
        else:
            return None
        with self._lock:
            kept = self._kept.get(text)
            if kept is not None:
                self._kept.move_to_end(text)
                return kept.copy()
        compiled = self._compile(text, param)
        with self._lock:
            self._kept[text] = compiled
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return compiled.copy()

    def _compile(self, text: str, param: str) -> Constraint:
        import llguidance

        try:
            if param == "tools":
                grammar = llguidance.LLMatcher.grammar_from_lark(text)
            else:
                grammar = llguidance.LLMatcher.grammar_from_json_schema(
                    text, overrides={"whitespace_flexible": False}
                )
        except ValueError as error:
            raise _unusable(str(error), param) from error
        limits = llguidance.LLParserLimits(verbose_errors=False)
        matcher = llguidance.LLMatcher(self._for_llguidance(), grammar, log_level=0, limits=limits)
        if matcher.is_error():
            raise _unusable(matcher.get_error(), param)
        compiled = Constraint(matcher, self.vocabulary, param=param)
        try:
            compiled.allowed()  # the first mask takes longest: not on the engine's thread
        except ConstraintError as error:
            raise _unusable(str(error), param) from error
        return compiled

    def _for_llguidance(self) -> Any:
        import llguidance.hf

        with self._lock:
            if self._tokenizer is None:
                self._tokenizer = llguidance.hf.from_tokenizer(
                    self._plain, n_vocab=self.vocabulary, eos_token=self._eos
                )
            return self._tokenizer


class Constraint:
    """State of one answer in its grammar."""

    def __init__(
        self, matcher: Any, vocabulary: int, mask: npt.NDArray[np.bool_] | None = None, *, param: str
    ) -> None:
        self._matcher = matcher
        self._vocabulary = vocabulary
        self._mask = mask
        self.param = param
        """The field of the request that the grammar comes from."""

    def copy(self) -> Constraint:
        """The same state, for another answer."""
        return Constraint(self._matcher.deep_copy(), self._vocabulary, self._mask, param=self.param)

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next; bool[V]. At the end of the grammar only the end-of-text token.

        Raises
        ------
        ConstraintError
            if llguidance met one of its limits.
        """
        if self._mask is None:
            import llguidance.numpy

            bits = llguidance.numpy.allocate_token_bitmask(1, self._vocabulary)
            llguidance.numpy.fill_next_token_bitmask(self._matcher, bits, 0)
            self._check()
            octets = bits[0].view(np.uint8)
            self._mask = np.unpackbits(octets, bitorder="little")[: self._vocabulary].astype(bool)
        return self._mask

    def consume(self, token: int) -> None:
        """Advance by a token that `allowed` allowed; ConstraintError if llguidance met one of its limits."""
        self._mask = None
        self._matcher.consume_token(token)
        self._check()

    @property
    def finished(self) -> bool:
        """Whether nothing more may follow."""
        self._check()  # a matcher that failed calls itself stopped
        return bool(self._matcher.is_stopped())

    def _check(self) -> None:
        if self._matcher.is_error():
            problem = " ".join(self._matcher.get_error().split())[:200]
            raise ConstraintError(
                f"the answer cannot be held to its JSON schema any further: {problem}", param=self.param
            )


def checked_schema(schema: dict[str, Any], param: str = "response_format") -> str:
    """A schema's JSON text; RequestError if it exceeds the limits."""
    try:
        text = json.dumps(schema, ensure_ascii=False)
        size = len(text.encode())
        longest = max(map(len, _strings(schema)), default=0)
    except (RecursionError, UnicodeEncodeError) as error:
        raise _unusable(f"{type(error).__name__} while it is read", param) from error
    if size > MAX_SCHEMA_BYTES:
        raise _unusable(f"it has {size} bytes; at most {MAX_SCHEMA_BYTES}", param)
    if longest > MAX_STRING_CHARACTERS:
        raise _unusable(
            f"one of its strings has {longest} characters; at most {MAX_STRING_CHARACTERS}", param
        )
    return text


def _strings(value: Any) -> Iterator[str]:
    """Every string that the grammar is made of: keys too, prose not."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _strings(item)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield key
            if key not in _PROSE or not isinstance(item, str):
                yield from _strings(item)


def _unusable(problem: str, param: str) -> RequestError:
    problem = " ".join(problem.split())[:300]
    return RequestError(f"the JSON schema cannot be used: {problem}", param=param)
