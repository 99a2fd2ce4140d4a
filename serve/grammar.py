"""Output held to a JSON schema: llguidance says which tokens may come next."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.errors import RequestError


class Grammar:
    """Compiles JSON schemas for one tokenizer.

    `vocabulary` is the width of the model's logits, `eos` are the tokens that may end an answer.
    """

    def __init__(self, tokenizer: Any, vocabulary: int, eos: Iterable[int]) -> None:
        import llguidance.hf

        self._tokenizer = llguidance.hf.from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=sorted(eos))
        self.vocabulary = vocabulary

    def start(self, schema: dict[str, Any]) -> Constraint:
        """Begin an answer under a schema.

        Raises
        ------
        RequestError
            if llguidance cannot compile the schema.
        """
        import llguidance

        try:
            grammar = llguidance.LLMatcher.grammar_from_json_schema(json.dumps(schema))
        except ValueError as error:
            raise _unusable(str(error)) from error
        matcher = llguidance.LLMatcher(self._tokenizer, grammar)
        if matcher.is_error():
            raise _unusable(matcher.get_error())
        return Constraint(matcher, self.vocabulary)


class Constraint:
    """Where one answer stands in its grammar."""

    def __init__(self, matcher: Any, vocabulary: int) -> None:
        import llguidance.numpy

        self._matcher = matcher
        self._vocabulary = vocabulary
        self._bits = llguidance.numpy.allocate_token_bitmask(1, vocabulary)

    def allowed(self) -> npt.NDArray[np.bool_]:
        """Which tokens may come next; bool[V]. At the end of the grammar only the end-of-text token."""
        import llguidance.numpy

        llguidance.numpy.fill_next_token_bitmask(self._matcher, self._bits, 0)
        octets = self._bits[0].view(np.uint8)
        return np.unpackbits(octets, bitorder="little")[: self._vocabulary].astype(bool)

    def consume(self, token: int) -> None:
        """Advance by a token that `allowed` allowed."""
        if not self._matcher.consume_token(token):
            raise AssertionError(f"token {token} is outside the grammar: {self._matcher.get_error()}")

    @property
    def finished(self) -> bool:
        """Whether nothing more may follow."""
        return bool(self._matcher.is_stopped())


def _unusable(problem: str) -> RequestError:
    said = " ".join(problem.split())[:300]
    return RequestError(f"the JSON schema cannot be used: {said}", param="response_format")
