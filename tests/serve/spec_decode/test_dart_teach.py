"""Rectangles of texts against the engine's rows, and batch training against training text by text."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from benchmarks.eagle import rollout_losses
from benchmarks.gpu.batch_decoding import BatchWriter, Text, states, write_texts
from benchmarks.gpu.batch_training import Batch, BatchTrainer, batches, new_head
from serve.engine.engine import Engine
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.request import SamplingParams
from serve.spec_decode.training.losses import Answered, answer_losses
from serve.spec_decode.training.train import Settings

PROMPTS = [[5, 9, 7, 30], [44, 3], [8] * 11, [100, 101, 102, 103, 104, 105, 106], [9, 9, 4], [61]]


@pytest.mark.parametrize("family", ["llama", "qwen3"])
def test_the_writers_greedy_answers_are_the_engines(
    family: str, tiny_engine: Callable[..., Engine], tiny_model: Callable[[str], Model]
) -> None:
    engine = tiny_engine(family)
    asked = [(i, 0, p) for i, p in enumerate(PROMPTS)]
    writer = BatchWriter(tiny_model(family), slots=4, length=40, stop=set(engine.eos), period=5)
    texts = write_texts(writer, iter(asked), most=10**9, until=float("inf"))
    assert sorted(t.number for t in texts) == list(range(len(PROMPTS)))
    for text in texts:
        prompt = PROMPTS[text.number]
        assert text.tokens[: text.prompt_length].tolist() == prompt
        wanted = engine.generate([prompt], SamplingParams(max_tokens=40 - len(prompt)))[0].tokens
        written = text.tokens[text.prompt_length :].tolist()
        assert written == wanted[: len(written)]
        assert len(written) == len(wanted) or written[-3:] * 4 == written[-12:] or len(written) >= 12


def test_drawn_answers_follow_the_models_distribution(tiny_model: Callable[[str], Model]) -> None:
    model = tiny_model("llama")
    writer = BatchWriter(model, slots=512, length=6, stop=set(), period=2)
    texts = write_texts(
        writer, iter([(i, 1, [7, 8, 9]) for i in range(4096)]), most=10**9, until=float("inf")
    )
    tokens = torch.tensor([[7, 8, 9, 0]])
    _, final = states(model, tokens)
    chance = ((final[0, 2] @ model.head_weight.double().T) / 0.7).softmax(-1)
    drawn = np.bincount([t.tokens[3] for t in texts], minlength=len(chance)) / len(texts)
    assert np.abs(drawn - chance.numpy()).max() < 4 * (0.25 / len(texts)) ** 0.5


@pytest.fixture(scope="module")
def lesson(tiny: Callable[[str], Checkpoint], tiny_model: Callable[[str], Model]) -> dict[str, Any]:
    """Forty drawn answers of the tiny model."""
    model, checkpoint = tiny_model("llama"), tiny("llama")
    writer = BatchWriter(model, slots=16, length=36, stop={0}, seed=3)
    asked = [(i, i % 3, list(np.random.default_rng(i).integers(1, 200, 3 + i % 7))) for i in range(40)]
    texts = write_texts(writer, iter(asked), most=10**9, until=float("inf"))
    return {"model": model, "checkpoint": checkpoint, "texts": [t for t in texts if len(t.tokens) > 12]}


@pytest.mark.parametrize("autoregressive", [False, True])
def test_a_batch_has_the_losses_of_its_texts(lesson: dict[str, Any], autoregressive: bool) -> None:
    model, checkpoint = lesson["model"], lesson["checkpoint"]
    texts: list[Text] = lesson["texts"][:5]
    settings = Settings(depth=4, draft_vocabulary=120)
    ids = torch.randperm(model.dims.vocabulary, generator=torch.Generator().manual_seed(0))[:120].sort()[0]
    head, target = new_head(
        model, checkpoint.config, checkpoint.tensors, ids, 4, autoregressive=autoregressive
    )
    trainer = BatchTrainer(model, target, head, settings)
    anchors = torch.tensor([[len(t.tokens) - 9, len(t.tokens) - 6, t.prompt_length - 1] for t in texts])
    together = trainer.losses(Batch.of(texts, model.device), anchors)
    kl, hits, count = (torch.zeros(4, dtype=torch.float64) for _ in range(3))
    for text, at in zip(texts, anchors.tolist(), strict=True):
        tokens = torch.from_numpy(text.tokens.astype(np.int64))
        taps, final = (x[0] for x in states(model, tokens[None, :-1]))
        last = torch.zeros(1, taps.shape[1]), torch.zeros(1, final.shape[1])
        answer = Answered(
            tokens, text.prompt_length, torch.cat([taps, last[0]]), torch.cat([final, last[1]]), text.number
        )
        if autoregressive:
            own = rollout_losses(head, target, answer, at, settings.gamma)
        else:
            own = answer_losses(head, target, answer, at, settings.gamma)
        kl, hits, count = kl + own.kl, hits + own.hits, count + own.count
    torch.testing.assert_close(together.count, count)
    torch.testing.assert_close(together.hits, hits)
    torch.testing.assert_close(together.kl, kl, rtol=1e-4, atol=1e-4)
    assert count.min() > 0


@pytest.mark.parametrize("autoregressive", [False, True])
def test_training_lowers_the_loss_of_texts_not_trained_on(
    lesson: dict[str, Any], autoregressive: bool
) -> None:
    model, checkpoint, texts = lesson["model"], lesson["checkpoint"], lesson["texts"]
    settings = Settings(depth=3, draft_vocabulary=200, anchors=4, warmup=2, learning_rate=3e-3)
    ids = torch.arange(200)
    head, target = new_head(
        model, checkpoint.config, checkpoint.tensors, ids, 3, autoregressive=autoregressive
    )
    trainer = BatchTrainer(model, target, head, settings, rows=256)
    before = trainer.validate(texts[:6])
    trainer.train(texts[6:], texts[:6], until=float("inf"), epochs=6)
    assert trainer.curve[-1]["loss"] < 0.9 * before["loss"]
    assert trainer.answer_tokens == 6 * sum(len(t.tokens) - t.prompt_length for t in texts[6:])


def test_batches_hold_every_text_once_within_the_rows() -> None:
    import random

    texts = [Text(i, 0, np.zeros(3 + i % 50, np.int32), 2) for i in range(300)]
    made = list(batches(texts, 320, random.Random(0)))
    assert sorted(t.number for b in made for t in b) == list(range(300))
    assert all(len(b) * (-(-max(len(t.tokens) for t in b) // 32) * 32) <= 320 for b in made)
