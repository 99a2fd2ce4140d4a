"""The head's arithmetic and its training, on a tiny random target."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.eagle import EagleTrainer, rollout_losses
from serve.errors import InputError, ModelError
from serve.model.decoder import Model
from serve.model.loader import Checkpoint
from serve.spec_decode.dart_head import DraftHead, HeadConfig, load_head, save_head
from serve.spec_decode.training.corpus import loops, pack_answers, replay_corpus, shard_paths, write_corpus
from serve.spec_decode.training.losses import Answered, Losses, Target, answer_losses, block_mask
from serve.spec_decode.training.train import Settings, Trainer, read_shard, tokens_in

SMALL = Settings(
    depth=3, draft_vocabulary=120, anchors=4, batch=2, warmup=1, heldout_every=5, learning_rate=3e-3
)


@pytest.fixture(scope="module")
def checkpoint(tiny: Callable[[str], Checkpoint]) -> Checkpoint:
    return tiny("llama")


@pytest.fixture(scope="module")
def corpus(checkpoint: Checkpoint, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Forty short answers of the tiny model, written in two runs."""
    folder = tmp_path_factory.mktemp("corpus")
    rows = [
        {"workload": "chat", "messages": [{"role": "user", "content": f"{i} and {i * i}"}]} for i in range(40)
    ]
    prompts = folder / "prompts.jsonl"
    prompts.write_text("".join(json.dumps(row) + "\n" for row in rows))
    model = Model.load(checkpoint, "float32")
    sizes = {"slots": 6, "draws": 2, "length": 60, "stop": {0}, "per_shard": 8}
    write_corpus(model, checkpoint.tokenizer, prompts, folder / "shards", until=0.0, **sizes)
    first = tokens_in(folder / "shards")[0]
    write_corpus(model, checkpoint.tokenizer, prompts, folder / "shards", **sizes)
    assert first < tokens_in(folder / "shards")[0] <= 80
    return folder / "shards"


def hugging_face(checkpoint: Checkpoint) -> torch.nn.Module:
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(checkpoint.config).eval()
    model.load_state_dict(checkpoint.tensors)
    return model


def test_the_corpus_holds_the_models_own_greedy_answers_and_states(
    checkpoint: Checkpoint, corpus: Path
) -> None:
    model = hugging_face(checkpoint)
    answers = [a for p in shard_paths(corpus) for a in read_shard(p, heldout=False, every=10**9)]
    greedy = [a for a in answers if a.draw == 0][:8]
    assert len(greedy) == 8
    for answer in greedy:
        with torch.no_grad():
            out = model(answer.tokens[None, :-1], output_hidden_states=True)
        n = answer.prompt_length
        assert out.logits[0, n - 1 :].argmax(-1).tolist() == answer.tokens[n:].tolist()
        hidden = out.hidden_states
        taps = torch.cat([hidden[i][0] for i in (2, 1, 0)], -1)  # layers 2, N // 2 and N - 3 of three
        torch.testing.assert_close(answer.taps[:-1].float(), taps, atol=2e-2, rtol=2e-2)
        torch.testing.assert_close(answer.final[:-1].float(), hidden[-1][0], atol=2e-2, rtol=2e-2)


def test_the_kept_tokens_alone_bring_the_corpus_back(
    checkpoint: Checkpoint, corpus: Path, tmp_path: Path
) -> None:
    answers, tokens = pack_answers(corpus, tmp_path / "answers.npz")
    model = Model.load(checkpoint, "float32")
    assert (
        0 < replay_corpus(model, tmp_path / "answers.npz", tmp_path / "again", per_shard=8, until=0) < tokens
    )
    replay_corpus(model, tmp_path / "answers.npz", tmp_path / "again", per_shard=8)
    assert tokens_in(tmp_path / "again") == tokens_in(corpus) == (answers, tokens)

    def states(folder: Path) -> dict[tuple[int, int], Answered]:
        every = (a for p in shard_paths(folder) for a in read_shard(p, heldout=False, every=10**9))
        return {(a.number, a.draw): a for a in every}

    before, after = states(corpus), states(tmp_path / "again")
    assert before.keys() == after.keys()
    for key, answer in before.items():
        assert answer.tokens.tolist() == after[key].tokens.tolist()
        torch.testing.assert_close(answer.taps, after[key].taps, atol=2e-3, rtol=2e-3)
        torch.testing.assert_close(answer.final, after[key].final, atol=2e-3, rtol=2e-3)
    with pytest.raises(InputError, match="no readable file of answers"):
        replay_corpus(model, tmp_path / "none.npz", tmp_path / "again")


@pytest.mark.parametrize(
    ("tokens", "looping"),
    [
        ([1, 2, 3] * 4, True),
        ([1, 2, 3] * 3, False),
        ([5] * 12, True),
        ([9, *range(20)], False),
        (list(range(9)) * 3, True),
    ],
)
def test_a_loop_is_a_piece_three_times(tokens: list[int], looping: bool) -> None:
    assert loops(tokens) is looping


def small_head(depth: int = 3) -> tuple[DraftHead, Target, Answered]:
    torch.manual_seed(0)
    config = HeadConfig(16, 4, 2, 4, 24, 20, 30, depth, 10_000.0, 1e-5)
    head = DraftHead(config, torch.arange(20))
    target = Target.of({"model.embed_tokens.weight": torch.randn(30, 16)}, torch.arange(20))
    tokens = torch.randint(0, 20, (14,))
    return head, target, Answered(tokens, 4, torch.randn(14, 48), torch.randn(14, 16), 0)


def test_packed_blocks_are_each_block_alone() -> None:
    head, target, answer = small_head()
    packed = answer_losses(head, target, answer, [3, 6, 7, 10], gamma=0.6)
    alone = [answer_losses(head, target, answer, [a], gamma=0.6) for a in (3, 6, 7, 10)]
    # The first depth comes from every real row, whatever the blocks; the others add up.
    assert packed.kl[0] == pytest.approx(float(alone[0].kl[0]))
    torch.testing.assert_close(packed.kl[1:], sum(x.kl[1:] for x in alone))
    torch.testing.assert_close(packed.count[1:], sum(x.count[1:] for x in alone))


def test_the_mask_is_the_definition() -> None:
    visible = block_mask(4, torch.tensor([[1, 3]]), 2)[0]
    rows = [
        "1000 0000",
        "1100 0000",
        "1110 0000",
        "1111 0000",
        "1100 1000",
        "1100 1100",
        "1111 0010",
        "1111 0011",
    ]
    assert visible.int().tolist() == [[int(x) for x in row.replace(" ", "")] for row in rows]


def test_a_later_mask_or_the_future_changes_nothing_before_it() -> None:
    head, _, _ = small_head(depth=4)
    z, residual = torch.randn(9, 32), torch.randn(9, 16)
    visible = block_mask(6, torch.tensor([[3]]), 3)[0]
    before = head(residual, z, torch.arange(9), visible)
    z[8] += 1.0  # the last mask
    residual[8] += 1.0
    z[5] += 1.0  # a real row behind the block's prefix
    after = head(residual, z, torch.arange(9), visible)
    same = [0, 1, 2, 3, 4, 6, 7]
    torch.testing.assert_close(before[same], after[same])
    assert not torch.allclose(before[8], after[8])


@pytest.mark.parametrize("losses", [answer_losses, rollout_losses])
def test_no_loss_leaves_the_answers_device(losses: Callable[..., Losses]) -> None:
    """Tensors made without a device land on `meta` here, which meets no tensor of another device."""
    head, target, answer = small_head(depth=4)
    wanted = losses(head, target, answer, [4, 6], gamma=0.6)
    with torch.device("meta"):
        found = losses(head, target, answer, [4, 6], gamma=0.6)
    torch.testing.assert_close(found.total, wanted.total)  # the device too


def test_nothing_of_the_target_learns() -> None:
    head, target, answer = small_head()
    answer_losses(head, target, answer, [4, 5], gamma=0.6).total.backward()
    assert all(p.grad is not None for p in head.parameters())
    assert target.embedding.grad is None
    assert not target.embedding.requires_grad


@pytest.mark.parametrize("kind", [Trainer, EagleTrainer])
def test_training_learns_and_resumes(
    checkpoint: Checkpoint, corpus: Path, tmp_path: Path, kind: type[Trainer]
) -> None:
    def trainer() -> Trainer:
        return kind(tmp_path, checkpoint.config, checkpoint.tensors, corpus, SMALL, {0})

    first = trainer()
    before = first.validate()["loss"]
    first.train(5, most_epochs=2)
    after = first.progress.curve[-1]
    assert after["loss"] < before
    assert after["answer_tokens"] > 0
    again = trainer()
    assert again.progress == first.progress
    assert again.validate()["loss"] == pytest.approx(after["loss"], abs=1e-3)
    again.train(5, most_epochs=3)
    assert again.progress.steps > first.progress.steps


def test_a_head_comes_back_from_its_file_and_a_foreign_one_is_refused(tmp_path: Path) -> None:
    head, _, _ = small_head()
    path = tmp_path / "head.safetensors"
    save_head(head, path, "tokenizer-a")
    again = load_head(path, "tokenizer-a")
    assert again.config == head.config
    for name, tensor in head.state_dict().items():
        np.testing.assert_allclose(tensor.float(), again.state_dict()[name].float(), atol=2e-3)
    with pytest.raises(ModelError, match="another tokenizer"):
        load_head(path, "tokenizer-b")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(ModelError, match="no readable draft head"):
        load_head(path)
    with pytest.raises(ModelError, match="no readable draft head"):
        load_head(tmp_path / "none")


def test_an_empty_corpus_is_named(checkpoint: Checkpoint, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no answers"):
        Trainer(tmp_path, checkpoint.config, checkpoint.tensors, tmp_path, SMALL, {0})
