"""Train a draft head on the target's own answers, with the loss of `serve.spec_decode.training.losses`.

The run writes its state (weights, moments, curve) every few minutes and resumes from it; a later run may
bring more shards. The learning rate falls linearly to zero over the time given to one run.
"""

from __future__ import annotations

import json
import random
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serve.atomic import replacing, write_text
from serve.errors import InputError
from serve.spec_decode.dart_head import DraftHead, HeadConfig
from serve.spec_decode.training.corpus import shard_paths
from serve.spec_decode.training.losses import Answered, Losses, Target, answer_losses, pick_anchors


@dataclass(frozen=True, slots=True)
class Settings:
    """How a head is trained."""

    depth: int = 8
    draft_vocabulary: int = 6144
    gamma: float = 0.6
    anchors: int = 16  # mask blocks per answer
    learning_rate: float = 1e-3
    warmup: int = 30  # optimizer steps
    batch: int = 4  # answers per optimizer step
    seed: int = 0
    heldout_every: int = 25  # prompts whose number divides by it are for validation


@dataclass(slots=True)
class Progress:
    """Progress of a training run, written next to the weights."""

    epoch: int = 0
    done: list[str] = field(default_factory=list)  # shards of this epoch
    steps: int = 0
    answer_tokens: int = 0
    seconds: float = 0.0
    curve: list[dict[str, Any]] = field(default_factory=list)


def read_shard(path: Path, *, heldout: bool, every: int) -> Iterator[Answered]:
    """Read a shard's training answers, or its held-out ones."""
    with np.load(path) as shard:
        data = {
            name: shard[name]
            for name in ("tokens", "offsets", "prompt_length", "number", "draw", "taps", "final")
        }
    for i, number in enumerate(data["number"].tolist()):
        if (number % every == 0) != heldout:
            continue
        part = slice(int(data["offsets"][i]), int(data["offsets"][i + 1]))
        answer = Answered(
            torch.from_numpy(data["tokens"][part].astype(np.int64)),
            int(data["prompt_length"][i]),
            torch.from_numpy(data["taps"][part]),
            torch.from_numpy(data["final"][part]),
            number,
            int(data["draw"][i]),
        )
        if answer.usable:
            yield answer


def token_counts(folder: Path, vocabulary: int) -> npt.NDArray[np.int64]:
    """How often every token is in the answers, int64[vocabulary]."""
    counts = np.zeros(vocabulary, np.int64)
    for path in shard_paths(folder):
        with np.load(path) as shard:
            tokens, offsets, lengths = shard["tokens"], shard["offsets"], shard["prompt_length"]
        for start, stop, n in zip(offsets[:-1], offsets[1:], lengths, strict=True):
            counts += np.bincount(tokens[start + n : stop], minlength=vocabulary)
    if not counts.any():
        raise InputError(f"{folder}: no answers in it; write the corpus first")
    return counts


def reduced_vocabulary(folder: Path, vocabulary: int, size: int, always: set[int]) -> tuple[Tensor, float]:
    """Return the ids of the `size` most frequent answer tokens, ascending, and the share of answers they cover."""
    return most_frequent(token_counts(folder, vocabulary), size, always)


def most_frequent(counts: npt.NDArray[np.int64], size: int, always: set[int]) -> tuple[Tensor, float]:
    """Ids of the `size` tokens of the greatest `counts` int64[V], ascending, `always` among them; and their share."""
    ranked = counts.copy()
    ranked[list(always)] = counts.max() + 1
    ids = np.sort(np.argsort(-ranked, kind="stable")[:size])
    return torch.from_numpy(ids), float(counts[ids].sum() / counts.sum())


class Trainer:
    """A head, its optimizer, and a folder that holds their state; a run without state starts from `begin`, if given."""

    autoregressive = False
    run = staticmethod(answer_losses)

    def __init__(
        self,
        folder: Path,
        config: Any,
        tensors: dict[str, Tensor],
        corpus: Path,
        settings: Settings,
        stop: set[int],
        *,
        begin: DraftHead | None = None,
        device: torch.device | str = "cpu",
    ) -> None:
        self.device = torch.device(device)
        self.folder, self.corpus, self.settings = folder, corpus, settings
        # A CPU without these instructions emulates bfloat16 at a fraction of float32's speed.
        on_cpu = self.device.type == "cpu"
        self.bfloat16 = not on_cpu or bool(torch.cpu.get_capabilities().get("avx512_bf16"))
        torch.manual_seed(settings.seed)
        self.progress = Progress()
        weights = folder / "weights.safetensors"
        self.coverage = 0.0
        if weights.exists():
            ids = self._tensors(weights)["draft_ids"]
        elif begin is not None:
            counts = token_counts(corpus, config.vocab_size)
            ids = begin.draft_ids
            self.coverage = float(counts[ids.numpy()].sum() / counts.sum())
        else:
            size = min(settings.draft_vocabulary, config.vocab_size)
            ids, self.coverage = reduced_vocabulary(corpus, config.vocab_size, size, stop)
        shape = HeadConfig.of(config, len(ids), settings.depth, autoregressive=self.autoregressive)
        self.head = DraftHead(shape, ids)
        if begin is not None:
            self.head.load_state_dict(begin.state_dict())
        elif not weights.exists():
            self.head.warm_start(tensors)
        self.head.to(self.device)
        self.target = Target.of(tensors, ids).to(self.device)
        self.optimizer = torch.optim.AdamW(
            self.head.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.01
        )
        if weights.exists():
            self._restore(weights)

    @staticmethod
    def _tensors(path: Path) -> dict[str, Tensor]:
        from safetensors.torch import load_file

        return load_file(path)

    def _restore(self, weights: Path) -> None:
        self.head.load_state_dict(self._tensors(weights))
        state = json.loads((self.folder / "progress.json").read_text(encoding="utf-8"))
        self.coverage = state.pop("coverage")
        state.pop("settings")
        self.progress = Progress(**state)
        moments = self._tensors(self.folder / "moments.safetensors")
        for name, parameter in self.head.named_parameters():
            if f"{name}.first" not in moments:  # the autoregressive head has no use for the mask vector
                continue
            self.optimizer.state[parameter] = {
                "step": torch.tensor(float(self.progress.steps)),
                "exp_avg": moments[f"{name}.first"].to(self.device),
                "exp_avg_sq": moments[f"{name}.second"].to(self.device),
            }

    def save(self) -> None:
        """Write weights, moments and progress, each atomically, progress last."""
        from safetensors.torch import save_file

        self.folder.mkdir(parents=True, exist_ok=True)
        moments = {}
        for name, parameter in self.head.named_parameters():
            if state := self.optimizer.state.get(parameter):
                moments[f"{name}.first"], moments[f"{name}.second"] = state["exp_avg"], state["exp_avg_sq"]
        for name, tensors in (("weights", self.head.state_dict()), ("moments", moments)):
            with replacing(self.folder / f"{name}.safetensors") as temporary:
                save_file({n: t.contiguous() for n, t in tensors.items()}, temporary)
        state = asdict(self.progress) | {"coverage": self.coverage, "settings": asdict(self.settings)}
        write_text(self.folder / "progress.json", json.dumps(state, indent=1))

    def losses(self, answer: Answered, anchors: list[int]) -> Losses:
        """Run one answer through the head; linear layers in bfloat16 where the device has it."""
        with torch.autocast(self.device.type, torch.bfloat16, enabled=self.bfloat16):
            return self.run(self.head, self.target, answer.to(self.device), anchors, self.settings.gamma)

    def answers(self) -> Iterator[tuple[str, list[Answered]]]:
        """Yield the shuffled shards of this epoch that are not done, then those of the next epochs, without end."""
        every = self.settings.heldout_every
        while True:
            rng = random.Random(f"{self.settings.seed} {self.progress.epoch}")
            paths = [p for p in shard_paths(self.corpus) if p.name not in self.progress.done]
            rng.shuffle(paths)
            for path in paths:
                shard = list(read_shard(path, heldout=False, every=every))
                rng.shuffle(shard)
                yield path.name, shard
            self.progress.epoch, self.progress.done = self.progress.epoch + 1, []

    def train(
        self, minutes: float, *, most_epochs: int = 3, report: Any = None, every_s: float = 120.0
    ) -> None:
        """Descend until the time or the epochs are over; save and validate every `every_s` seconds."""
        begin = last = time.time()
        before = self.progress.seconds
        rng = random.Random(f"anchors {self.settings.seed} {self.progress.steps}")
        for name, shard in self.answers():
            if self.progress.epoch >= most_epochs:
                break
            for start in range(0, len(shard), self.settings.batch):
                left = 1 - (time.time() - begin) / (60 * minutes)
                if left <= 0:
                    break
                self.step(shard[start : start + self.settings.batch], left, rng)
                self.progress.seconds = before + time.time() - begin
            else:
                self.progress.done.append(name)
                if time.time() - last > every_s:
                    last = time.time()
                    self.checkpoint(report)
                continue
            break
        self.checkpoint(report)

    def step(self, batch: list[Answered], left: float, rng: random.Random) -> None:
        """One optimizer step over a few answers; `left` is the share of the run's time that is left."""
        s = self.settings
        rate = s.learning_rate * min(1.0, (self.progress.steps + 1) / s.warmup) * left
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        for answer in batch:
            losses = self.losses(answer, pick_anchors(answer, s.anchors, rng))
            (losses.total / len(batch)).backward()  # type: ignore[no-untyped-call]
            self.progress.answer_tokens += len(answer.tokens) - answer.prompt_length
        torch.nn.utils.clip_grad_norm_(self.head.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.progress.steps += 1

    def checkpoint(self, report: Any = None) -> dict[str, Any]:
        """Validate, note it in the curve, save."""
        point = self.validate()
        self.progress.curve.append(point)
        self.save()
        if report:
            report(json.dumps(point))
        return point

    @torch.no_grad()
    def validate(self, most: int = 40) -> dict[str, Any]:
        """Loss and accuracy by position on held-out prompts of the corpus."""
        rng = random.Random(1)
        sums = torch.zeros(3, self.head.config.depth, dtype=torch.float64)
        seen = 0
        for path in shard_paths(self.corpus):
            for answer in read_shard(path, heldout=True, every=self.settings.heldout_every):
                if seen < most:
                    losses = self.losses(answer, pick_anchors(answer, 16, rng))
                    sums += torch.stack([losses.kl, losses.hits, losses.count]).cpu()
                    seen += 1
        kl, hits, count = sums
        count = count.clamp(min=1)
        weights = self.settings.gamma ** torch.arange(len(count), dtype=torch.float64)
        return {
            "answer_tokens": self.progress.answer_tokens,
            "steps": self.progress.steps,
            "seconds": round(self.progress.seconds),
            "loss": round(float((weights * kl / count).sum()), 4),
            "accuracy": [round(x, 4) for x in (hits / count).tolist()],
            "validation_answers": seen,
        }


def tokens_in(corpus: Path) -> tuple[int, int]:
    """Return how many answers and answer tokens a corpus holds."""
    answers = tokens = 0
    for path in shard_paths(corpus):
        with np.load(path) as shard:
            answers += len(shard["number"])
            tokens += int(shard["offsets"][-1] - shard["prompt_length"].sum())
    return answers, tokens
