"""DART's n-grams as a `custom_class` of vLLM's speculative decoding: a chain of the likeliest next tokens.

``--speculative-config '{"method": "custom_class", "model": "serve.vllm_plugins.proposer.NgramProposer",
"num_speculative_tokens": 4}'``. vLLM verifies one chain per request and gives a custom proposer token ids only, so this
is the n-gram half of DART without its tree. The static n-grams are read from the file that VCKG_NGRAMS names, or from
the embedded model's own; another tokenizer's are refused. Without them a request's own text and recent answers serve.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.spec_decode.ngram_trie import GrowingGrams, Trie
from serve.spec_decode.proposers import GramModel
from serve.vllm_plugins import require_vllm

FILE_VARIABLE = "VCKG_NGRAMS"
LEAST_CHANCE = 0.1
"""A chain ends where its chance of being accepted that far falls below this: verifying a row is not free."""

Int32 = npt.NDArray[np.int32]
log = logging.getLogger(f"vllm.{__name__}")


@dataclass(slots=True)
class _Text:
    """What one request said so far, and its n-gram counts."""

    tokens: Int32
    grams: GrowingGrams = field(default_factory=GrowingGrams)


class Texts:
    """The counts of every request in the batch, found by their text: vLLM names no request, and moves rows about."""

    def __init__(self, shared: GrowingGrams) -> None:
        self.shared = shared
        self._rows: list[_Text] = []

    def take(self, rows: Sequence[Int32]) -> list[GrowingGrams]:
        """Counts of the requests whose texts are `rows`, brought up to date; what is no longer there is forgotten.

        What a request adds after it is first seen is an answer, and joins the shared counts.
        """
        left, taken = list(self._rows), list[_Text]()
        for row in rows:
            found = self._find(left, row)
            if found is None:
                found = _Text(row[:0])
                found.grams.extend(row.tolist(), 0)
            elif len(row) > len(found.tokens):
                tokens = row.tolist()
                found.grams.extend(tokens, len(found.tokens))
                self.shared.extend(tokens, len(found.tokens))
            found.tokens = row.copy()
            taken.append(found)
        self._rows = taken
        return [text.grams for text in taken]

    @staticmethod
    def _find(left: list[_Text], row: Int32) -> _Text | None:
        """The longest known text that `row` goes on from, taken out of `left`."""
        best = -1
        for i, text in enumerate(left):
            n = len(text.tokens)
            longer = 0 < n <= len(row) and (best < 0 or n > len(left[best].tokens))
            if longer and np.array_equal(text.tokens, row[:n]):
                best = i
        return left.pop(best) if best >= 0 else None


def chain(model: GramModel, own: GrowingGrams, text: Sequence[int], most: int, end: int | None) -> list[int]:
    """The likeliest continuation of `text`, at most `most` tokens, up to where it is hardly ever right."""
    tail = list(text[-model.longest :])
    drafted: list[int] = []
    chance = 1.0
    while len(drafted) < most:
        guesses = model.predict(own, tail)
        if not guesses:
            break
        token, likely = guesses[0]
        chance *= likely
        if chance < LEAST_CHANCE:
            break
        drafted.append(token)
        if token == end:
            break
        tail = [*tail, token][-model.longest :]
    return drafted


def ngram_file(tokenizer: str) -> Trie | None:
    """The static n-grams for a tokenizer's folder: the named file, or the embedded model's where the tokenizer is its.

    Raises
    ------
    ModelError
        if the named file is damaged or counts another tokenizer's tokens.
    """
    from transformers import AutoTokenizer

    from serve.errors import ModelError
    from serve.model.loader import EMBEDDED, tokenizer_hash
    from serve.spec_decode.registry import TRIE, draft_folder

    known = tokenizer_hash(AutoTokenizer.from_pretrained(tokenizer, local_files_only=True))
    if named := os.environ.get(FILE_VARIABLE):
        return Trie.load(Path(named), known)
    folder = draft_folder(EMBEDDED)
    if folder is None:
        return None
    try:
        return Trie.load(folder / TRIE, known)
    except ModelError as error:
        log.info("no static n-grams (%s); name a file in %s", error, FILE_VARIABLE)
        return None


class NgramProposer:
    """The class that vLLM loads.

    Parameters
    ----------
    vllm_config
        vLLM's configuration of the engine.
    """

    def __init__(self, vllm_config: Any) -> None:
        require_vllm()
        self.most = int(vllm_config.speculative_config.num_speculative_tokens)
        self.longest_text = int(vllm_config.model_config.max_model_len)
        trie = ngram_file(vllm_config.model_config.tokenizer)
        end = vllm_config.model_config.hf_config.eos_token_id
        self.end = end[0] if isinstance(end, list) else end
        self.shared = GrowingGrams()
        self.texts = Texts(self.shared)
        self.model = GramModel(self.shared, trie)
        log.info(
            "n-gram proposer: %s static n-grams, %d tokens a draft", trie.nodes if trie else "no", self.most
        )

    def propose(
        self,
        sampled_token_ids: list[list[int]],
        num_tokens_no_spec: Int32,
        token_ids_cpu: Int32,
        slot_mappings: object = None,
    ) -> list[list[int]]:
        """Draft for every row; none for rows that were not sampled (prompts in part) or are full."""
        lengths = [int(n) for n in num_tokens_no_spec[: len(sampled_token_ids)]]
        rows = [token_ids_cpu[i, :n] for i, n in enumerate(lengths)]
        drafts: list[list[int]] = []
        for row, own, sampled in zip(rows, self.texts.take(rows), sampled_token_ids, strict=True):
            room = self.longest_text - len(row)
            if not sampled or room <= 0:
                drafts.append([])
                continue
            tail = row[-self.model.longest :].tolist()
            drafts.append(chain(self.model, own, tail, min(self.most, room), self.end))
        return drafts

    def load_model(self, *_: object, **__: object) -> None:
        """Nothing to load; vLLM calls it."""
