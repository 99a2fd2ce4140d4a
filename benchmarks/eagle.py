"""An EAGLE-3-style autoregressive head, the side-by-side of DART: the same layer, run d times instead of once.

Step 1 is DART's real row. Step t takes the layer's own output of step t - 1 as its features and the embedding of the
token drafted there. Training rolls the steps out with the true tokens (EAGLE-3's training-time test), every prefix in
its own block, so the layer learns on its own features.

`python -m benchmarks.eagle --corpus CORPUS --output FOLDER` trains both heads from the same start on the same answers,
once each, in the same order: equal tokens. `vckg-serve write-corpus` makes the corpus.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from serve.kv_cache.attention_metadata import slots_of
from serve.model.loader import load_checkpoint, tokenizer_hash
from serve.request import Request
from serve.spec_decode.dart_head import DraftHead, save_head
from serve.spec_decode.head_drafting import DartProposer, Float64, Int64, LastRow
from serve.spec_decode.registry import HEAD
from serve.spec_decode.training.losses import Answered, Losses, Target, decayed_kl
from serve.spec_decode.training.train import Settings, Trainer
from serve.threads import use_threads

EAGLE = "eagle.safetensors"
MOST_LEVELS = 3
"""Levels that the head runs in a round: each is a pass, and what a deeper one adds does not pay for it on a CPU."""


class EagleProposer(DartProposer):
    """The autoregressive head: a chain of its likeliest tokens, then a tree over the same levels.

    Each step runs the layer on its own last output and the likeliest token, so the levels are those of one
    path. The siblings of that path complete the tree (EAGLE-3 grows every branch; on a CPU a pass per level
    is what it can pay). It runs `most_levels` levels at most.
    """

    most_levels = MOST_LEVELS

    @torch.inference_mode()
    def distributions(
        self, last: Sequence[LastRow], requests: Sequence[Request], levels: int
    ) -> tuple[Int64, Float64]:
        """Likeliest tokens and chances of each depth along the likeliest path, as `DartProposer.distributions`."""
        head = self.head
        levels = min(levels, self.most_levels)
        cached = [
            self.cache.read(slots_of(r.blocks, 0, row.position + 1, self.block_tokens))
            for row, r in zip(last, requests, strict=True)
        ]
        position = torch.tensor([row.position for row in last], device=self.device)
        z, state = torch.stack([row.z for row in last]), torch.stack([row.g for row in last])
        drawn: list[tuple[Int64, Float64]] = []
        for step in range(levels):
            if step:
                chosen = [
                    int(tokens[0, chance[0].argmax()]) for tokens, chance in zip(*drawn[-1], strict=True)
                ]
                z = head.real_rows(state, self.embedding[torch.tensor(chosen, device=self.device)].float())
                keys, values = head.keys_values(z, position + step)
                cached = [
                    (torch.cat([k, keys[i : i + 1]]), torch.cat([v, values[i : i + 1]]))
                    for i, (k, v) in enumerate(cached)
                ]
            q = head.queries(z, position + step)
            attended = [head.attend(q[i : i + 1], k, v, None) for i, (k, v) in enumerate(cached)]
            state = head.finish(state, torch.cat(attended))
            drawn.append(self.best(head.logits(state), len(last)))
        return np.concatenate([t for t, _ in drawn], 1), np.concatenate([p for _, p in drawn], 1)


def rollout_losses(
    head: DraftHead, target: Target, answer: Answered, anchors: Sequence[int], gamma: float
) -> Losses:
    """Run every real row once and then the anchors' blocks step by step; the loss is `decayed_kl`'s."""
    tokens, last = answer.tokens, len(answer.tokens) - 2
    g = head.fc(answer.taps[:last].float())
    z = head.real_rows(g, target.embedding[tokens[1 : last + 1]])
    device = tokens.device
    positions = torch.arange(last, device=device)
    keys, values = head.keys_values(z, positions)
    causal = torch.ones(last, last, dtype=torch.bool, device=device).tril()
    hidden = head.finish(g, head.attend(head.queries(z, positions), keys, values, causal))
    first = positions[answer.prompt_length - 1 :]
    rows, depth, teacher_row = [hidden[first]], [torch.ones_like(first)], [first + 1]
    anchor_rows = torch.as_tensor(anchors, dtype=torch.long, device=device)
    visible = positions <= anchor_rows[:, None]
    state, own = hidden[anchor_rows], torch.eye(len(anchor_rows), dtype=torch.bool, device=device)
    for t in range(2, head.config.depth + 1):
        # Past the end of the answer there is no true token; the row is computed all the same and not used.
        fed = tokens[(anchor_rows + t).clamp(max=len(tokens) - 1)]
        z = head.real_rows(state, target.embedding[fed])
        more_keys, more_values = head.keys_values(z, anchor_rows + t - 1)
        keys, values = torch.cat([keys, more_keys]), torch.cat([values, more_values])
        visible = torch.cat([visible, own], 1)
        attended = head.attend(head.queries(z, anchor_rows + t - 1), keys, values, visible)
        state = head.finish(state, attended)
        inside = anchor_rows + t <= last
        rows.append(state[inside])
        depth.append(torch.full((int(inside.sum()),), t, device=device))
        teacher_row.append((anchor_rows + t)[inside])
    joined: Tensor = torch.cat(rows)
    return decayed_kl(head, target, answer, joined, torch.cat(depth), torch.cat(teacher_row), gamma)


class EagleTrainer(Trainer):
    """Trains the autoregressive head."""

    autoregressive = True
    run = staticmethod(rollout_losses)


def one_epoch(trainer: Trainer, tokens: int) -> None:
    """Descend once over the corpus; the learning rate falls to 0 by the answer tokens that were seen of `tokens`."""
    rng = random.Random(0)
    for _, shard in trainer.answers():
        if trainer.progress.epoch:
            return
        for start in range(0, len(shard), trainer.settings.batch):
            left = 1 - trainer.progress.answer_tokens / tokens
            trainer.step(shard[start : start + trainer.settings.batch], max(left, 0.01), rng)
            if trainer.progress.answer_tokens >= tokens:
                return
        sys.stderr.write(f"{trainer.progress.answer_tokens:,} answer tokens\n")


def main() -> None:
    """Train both heads on equal tokens, and print their accuracy on held-out answers."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--corpus", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--tokens", type=int, default=100_000, help="answer tokens that each head sees")
    parser.add_argument("--threads", type=int)
    chosen = parser.parse_args()
    use_threads(chosen.threads)
    checkpoint = load_checkpoint(None)
    chosen.output.mkdir(parents=True, exist_ok=True)
    sys.stdout.write("| head | answer tokens | steps | loss | t=1 | t=2 | t=3 | t=4 |\n" + "|---" * 8 + "|\n")
    for kind, name in ((Trainer, HEAD), (EagleTrainer, EAGLE)):
        with tempfile.TemporaryDirectory() as state:
            trainer = kind(
                Path(state),
                checkpoint.config,
                checkpoint.tensors,
                chosen.corpus,
                Settings(),
                set(checkpoint.eos),
            )
            one_epoch(trainer, chosen.tokens)
        save_head(trainer.head, chosen.output / name, tokenizer_hash(checkpoint.tokenizer))
        point = trainer.validate()
        figures = " | ".join(f"{x:.3f}" for x in point["accuracy"][:4])
        sys.stdout.write(
            f"| {name} | {point['answer_tokens']:,} | {point['steps']} | {point['loss']} | {figures} |\n"
        )
        sys.stdout.flush()


if __name__ == "__main__":
    main()
