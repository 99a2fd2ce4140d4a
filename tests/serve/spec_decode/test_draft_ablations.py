"""The losses of the ablations against the loss that ships, and a block against the same block alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from benchmarks.draft_ablations import anchored_losses
from benchmarks.gpu.batch_decoding import states
from benchmarks.gpu.batch_training import new_head
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.spec_decode.training.losses import Answered, Losses, answer_losses

DEPTH, PROMPT = 4, 3


@pytest.fixture(scope="module")
def lesson(tiny: Callable[[str], Checkpoint], tiny_model: Callable[[str], Model]) -> dict[str, Any]:
    """A head with its target, and one answer of fifteen tokens."""
    model, checkpoint = tiny_model("llama"), tiny("llama")
    tokens = torch.randint(1, 200, (18,), generator=torch.Generator().manual_seed(1))
    taps, final = (x[0] for x in states(model, tokens[None, :-1]))
    ends = [torch.cat([x, torch.zeros(1, x.shape[1])]) for x in (taps, final)]
    ids = torch.arange(200)
    head, target = new_head(model, checkpoint.config, checkpoint.tensors, ids, DEPTH, autoregressive=False)
    return {"head": head, "target": target, "answer": Answered(tokens, PROMPT, *ends, 0)}


def test_anchors_everywhere_teach_what_the_shipped_loss_teaches(lesson: dict[str, Any]) -> None:
    everywhere = range(PROMPT - 1, len(lesson["answer"].tokens) - 2)
    wanted = answer_losses(**lesson, anchors=everywhere, gamma=0.6)
    found = anchored_losses(**lesson, anchors=everywhere, gamma=0.6, shift=True)
    for name in Losses.__slots__:
        torch.testing.assert_close(getattr(found, name), getattr(wanted, name))


@pytest.mark.parametrize("shift", [True, False])
def test_blocks_do_not_see_each_other_nor_later_tokens(lesson: dict[str, Any], shift: bool) -> None:
    together = anchored_losses(**lesson, anchors=[4, 9], gamma=0.6, shift=shift)
    alone = [anchored_losses(**lesson, anchors=[n], gamma=0.6, shift=shift) for n in (4, 9)]
    torch.testing.assert_close(together.kl, alone[0].kl + alone[1].kl)
    assert together.count.tolist() == [2] * DEPTH
    # What is drafted at row 4 needs no token after x_5: only the teacher and the wanted tokens do.
    answer: Answered = lesson["answer"]
    taps = answer.taps.clone()
    taps[5:] = 7
    blind = anchored_losses(
        lesson["head"], lesson["target"], replace(answer, taps=taps), [4], 0.6, shift=shift
    )
    torch.testing.assert_close(blind.kl, alone[0].kl)


def test_without_the_shift_the_first_mask_gives_the_first_token(lesson: dict[str, Any]) -> None:
    """Row n is the token x_n with the embedding of x_{n+1}; x_{n+2} is asked of it, or of the mask behind it."""
    head, target, answer = lesson["head"], lesson["target"], lesson["answer"]
    n, h = 6, lesson["head"].config.hidden
    g = head.fc(answer.taps[: n + 1].float())
    z = head.real_rows(g, target.embedding[answer.tokens[1 : n + 2]])
    rows = torch.cat([g, head.mask[None, :h]]), torch.cat([z, head.mask[None]])
    out = head(*rows, torch.arange(n + 2), torch.ones(n + 2, n + 2, dtype=torch.bool).tril())
    teacher = (answer.final[n + 1].float() @ target.head.T).log_softmax(-1)
    for shift, row in ((True, n), (False, n + 1)):
        drawn = head.logits(out[row]).log_softmax(-1)
        wanted = (teacher.exp() * (teacher - drawn)).sum()
        found = anchored_losses(head, target, answer, [n], 0.6, shift=shift).kl[0]
        torch.testing.assert_close(found.float(), wanted.float(), rtol=1e-4, atol=1e-5)
