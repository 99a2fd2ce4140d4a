"""Log-probabilities of prompt tokens, taken while the prompt is computed.

A prompt's row i predicts its token i + 1, which may lie in the next chunk. The output layer and the softmax run over
`BLOCK_ROWS` rows at a time, so that a long chunk needs no more memory than they do.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from serve.engine.batch import Round
from serve.engine.sampling import log_probabilities
from serve.model.decoder import Model

BLOCK_ROWS = 32


def score_prompts(model: Model, rounds: Sequence[Round], final: torch.Tensor) -> None:
    """Append to each request's `prompt_logprobs` what this step's rows predict.

    `final` float[r, hidden] is what the output layer reads: the packed rows' last hidden states after their norm.
    """
    for item in rounds:
        request, top = item.request, item.request.params.prompt_logprobs
        if top is None or not request.scoring:
            continue
        start = len(request.prompt_logprobs) + 1
        stop = min(len(request.prompt), request.computed + item.stop - item.start + 1)
        before = item.start - request.computed - 1  # row `before + i` predicts token i
        for i in range(start, stop, BLOCK_ROWS):
            tokens = request.prompt[i : min(i + BLOCK_ROWS, stop)]
            logits = on_cpu(model.head(final[before + i : before + i + len(tokens)].contiguous())).numpy()
            request.prompt_logprobs += [
                log_probabilities(row, token, top) for row, token in zip(logits, tokens, strict=True)
            ]


def on_cpu(logits: torch.Tensor) -> torch.Tensor:
    """Logits on the CPU, in a type that numpy has."""
    return (logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits).cpu()
