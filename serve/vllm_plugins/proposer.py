"""DART's n-grams as a `custom_class` of vLLM's speculative decoding: a chain of the likeliest next tokens.

``--speculative-config '{"method": "custom_class", "model": "serve.vllm_plugins.proposer.NgramProposer",
"num_speculative_tokens": 4}'``. vLLM verifies one chain per request and gives a custom proposer token ids only, so this
is the n-gram half of DART without its tree. The static n-grams are read from the file that VCKG_NGRAMS names, or from
the embedded model's own; another tokenizer's are refused. Without them a request's own text and recent answers serve.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from serve.spec_decode.ngram_trie import Trie
from serve.vllm_plugins import require_vllm
from serve.vllm_plugins.chains import Chains

FILE_VARIABLE = "VCKG_NGRAMS"
LEAST_CHANCE = 0.1
"""A chain ends where its chance of being accepted that far falls below this: verifying a row is not free."""

Int32 = npt.NDArray[np.int32]
log = logging.getLogger(f"vllm.{__name__}")


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
        self.chains = Chains(trie)
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
        """Draft for every row; none for rows that were not sampled (prompts in part) or are full.

        vLLM names no request and moves rows about. It does say which tokens of a row are new: those are an answer's,
        and join the recent ones. Everything else that is known of a request stands in its row.
        """
        rows = [
            token_ids_cpu[i, : int(n)] for i, n in enumerate(num_tokens_no_spec[: len(sampled_token_ids)])
        ]
        for row, sampled in zip(rows, sampled_token_ids, strict=True):
            if sampled:
                self.chains.remember(row, len(row) - len(sampled))
        lengths = np.asarray(num_tokens_no_spec[: len(rows)], np.int64)
        rooms = np.clip(self.longest_text - lengths, 0, self.most)
        rooms[[not sampled for sampled in sampled_token_ids]] = 0
        longest = int(lengths.max(initial=1))
        return self.chains.draft_all(
            token_ids_cpu[: len(rows), :longest], lengths, rooms, self.end, LEAST_CHANCE
        )

    def load_model(self, *_: object, **__: object) -> None:
        """Nothing to load; vLLM calls it."""
