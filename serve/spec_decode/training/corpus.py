"""The target model's own answers, with what its layers held while it wrote them: the draft head's training
corpus.

The engine's model writes them with its packed float16 weights, so they are the tokens that it would serve. A batch of
slots decodes together; a slot whose answer ended takes the next prompt, whose rows ride in the same pass. Several
answers of one prompt (one greedy, the others drawn) read it once. That pass gives everything the training needs. For
every token of prompt and answer it gives the residual stream at the three taps, and the last hidden state. The
teacher's distribution is one product of that state. Answers that fall into a loop are cut where the loop shows; a
loop teaches nothing and flatters every drafter.

The corpus is a folder of `shard-00000.npz`, written atomically; a run resumes after the prompts that the
shards name. Its tokens alone (`pack_answers`) are small enough to keep; from them one pass a text, without
any decoding, makes the shards again.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from serve.atomic import replacing
from serve.errors import InputError
from serve.kv_cache.attention_metadata import LAST_LOGITS, NO_LOGITS, Segment, plan_attention, slots_of
from serve.model.decoder import Model

BLOCK_TOKENS = 16
PASS_ROWS = 512
"""Rows of prompts in one pass at most; larger ones are no faster and hold the answers up."""

WARMTH = 0.7
"""Temperature of the answers that are drawn."""

Report = Callable[[str], object]


@dataclass(frozen=True)
class CorpusPrompt:
    """A rendered and tokenised prompt, and where it stands in the prompt file."""

    number: int
    workload: str
    tokens: list[int]


@dataclass
class Slot:
    """One answer being written, and its blocks of the cache. Draw 0 is greedy."""

    prompt: CorpusPrompt
    draw: int
    blocks: range
    tokens: list[int]
    states: list[Tensor] = field(default_factory=list)


@dataclass(frozen=True)
class Answer:
    """One prompt with an answer; states float16[T - 1, 4H] (taps, final), on the CPU, of all but the last token."""

    prompt: CorpusPrompt
    draw: int
    tokens: list[int]
    states: Tensor


def loops(tokens: list[int], longest: int = 40, times: int = 3) -> bool:
    """Tell whether the end of `tokens` is one piece of at most `longest` tokens repeated `times` times.

    A piece shorter than four tokens has to repeat for at least twelve tokens.
    """
    for period in range(1, longest + 1):
        need = max(times * period, 12)
        if len(tokens) >= need and tokens[-need:-period] == tokens[-need + period :]:
            return True
    return False


class Writer:
    """Writes many answers at once. `draws` answers a prompt, texts of at most `length` tokens."""

    def __init__(
        self, model: Model, *, slots: int, draws: int, length: int, stop: set[int], seed: int
    ) -> None:
        if slots < draws:
            raise InputError(f"{slots} slots are fewer than the {draws} answers of one prompt")
        self.model, self.draws, self.length, self.stop = model, draws, length, stop
        each = -(-length // BLOCK_TOKENS)
        self.cache = model.new_cache(slots * each, BLOCK_TOKENS)
        self.free = [range(i * each, (i + 1) * each) for i in range(slots)]
        self.writing: list[Slot] = []
        self.generator = torch.Generator().manual_seed(seed)

    def forward(self, segments: list[Segment], tokens: list[int]) -> tuple[Tensor, Tensor]:
        """Logits of the rows that want them, and states float16[r, 4H] of all."""
        plan = plan_attention(segments, BLOCK_TOKENS)
        logits, states = self.model.forward(
            np.asarray(tokens, np.int64), plan, self.cache, want_taps=True, want_final=True
        )
        assert states is not None
        return logits, states.half().cpu()

    def step(self, prompts: Iterator[CorpusPrompt]) -> list[Answer]:
        """One token for every answer, with the rows of as many new prompts as fit; the answers that ended."""
        new: list[CorpusPrompt] = []
        while (
            len(self.free) - len(new) * self.draws >= self.draws
            and sum(len(p.tokens) for p in new) < PASS_ROWS
        ):
            prompt = next(prompts, None)
            if prompt is None:
                break
            new.append(prompt)
        begun = [[Slot(p, draw, self.free.pop(), list(p.tokens)) for draw in range(self.draws)] for p in new]
        segments = [Segment(s.blocks, len(s.tokens) - 1, 1, None, LAST_LOGITS) for s in self.writing]
        segments += [Segment(group[0].blocks, 0, len(group[0].tokens), None, LAST_LOGITS) for group in begun]
        if not segments:
            return []
        tokens = [s.tokens[-1] for s in self.writing] + [t for p in new for t in p.tokens]
        logits, states = self.forward(segments, tokens)
        row = len(self.writing)
        order = list(range(row))
        slots = list(self.writing)
        for i, slot in enumerate(self.writing):
            slot.states.append(states[i : i + 1])
        for place, group in enumerate(begun):
            n = len(group[0].tokens)
            self._share(group, n)
            for slot in group:
                slot.states.append(states[row : row + n])
                slots.append(slot)
                order.append(len(self.writing) + place)
            row += n
        picked = self.pick(logits, order, slots)
        return self._append(slots, picked)

    def run(self, prompts: Iterator[CorpusPrompt]) -> Iterator[list[Answer]]:
        """Step until every prompt is answered; each step's answers."""
        while (ended := self.step(prompts)) or self.writing:
            yield ended

    def _share(self, group: list[Slot], n: int) -> None:
        """Give the other answers of a prompt its keys and values."""
        source = slots_of(group[0].blocks, 0, n, BLOCK_TOKENS)
        for slot in group[1:]:
            self.cache.move(source, slots_of(slot.blocks, 0, n, BLOCK_TOKENS))

    def pick(self, logits: Tensor, order: list[int], slots: list[Slot]) -> list[int]:
        """Choose each slot's next token from its row of the logits: the likeliest, or a draw."""
        best = logits.argmax(-1)[order]
        drawn = [i for i, slot in enumerate(slots) if slot.draw]
        if drawn:
            warm = (logits[[order[i] for i in drawn]] / WARMTH).softmax(-1).cumsum_(-1)
            coin = torch.rand(len(drawn), 1, generator=self.generator).to(warm.device) * warm[:, -1:]
            best[drawn] = torch.searchsorted(warm, coin)[:, 0].clamp(max=warm.shape[1] - 1)
        return list(map(int, best.tolist()))

    def _append(self, slots: list[Slot], picked: list[int]) -> list[Answer]:
        done: list[Answer] = []
        self.writing = []
        for slot, token in zip(slots, picked, strict=True):
            slot.tokens.append(token)
            written = slot.tokens[len(slot.prompt.tokens) :]
            if token in self.stop or len(slot.tokens) >= self.length or loops(written):
                done.append(Answer(slot.prompt, slot.draw, slot.tokens, torch.cat(slot.states)))
                self.free.append(slot.blocks)
            else:
                self.writing.append(slot)
        return done

    def replay(self, texts: list[tuple[CorpusPrompt, int, list[int]]]) -> list[Answer]:
        """The states of texts that are known already: (prompt, draw, tokens of prompt and answer)."""
        blocks = range(-(-self.length // BLOCK_TOKENS))
        out = []
        for prompt, draw, tokens in texts:
            segment = Segment(blocks, 0, len(tokens) - 1, None, NO_LOGITS)
            _, states = self.forward([segment], tokens[:-1])
            out.append(Answer(prompt, draw, tokens, states))
        return out


def save_shard(path: Path, shard: list[Answer]) -> None:
    """Write one shard: tokens int32, offsets into them, taps and final hidden states as float16."""
    whole = [np.asarray(a.tokens, dtype=np.int32) for a in shard]
    # The last token of an answer was never fed, so it has no state; a row of zeros keeps one offset table.
    states = torch.cat([torch.cat([a.states, a.states.new_zeros(1, a.states.shape[1])]) for a in shard])
    hidden = states.shape[1] // 4
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez(
            out,
            tokens=np.concatenate(whole),
            offsets=np.cumsum([0, *map(len, whole)]),
            prompt_length=np.asarray([len(a.prompt.tokens) for a in shard]),
            number=np.asarray([a.prompt.number for a in shard]),
            draw=np.asarray([a.draw for a in shard]),
            workload=np.asarray([a.prompt.workload for a in shard]),
            taps=states[:, : 3 * hidden].contiguous().numpy(),
            final=states[:, 3 * hidden :].contiguous().numpy(),
        )


def read_prompts(path: Path, tokenizer: Any, done: set[int], longest: int) -> Iterator[CorpusPrompt]:
    """Render and tokenise the prompts not yet answered, in the file's order, without too long ones."""
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines()):
        if number in done:
            continue
        row = json.loads(line)
        text = tokenizer.apply_chat_template(row["messages"], add_generation_prompt=True, tokenize=False)
        tokens = tokenizer(text, add_special_tokens=False)["input_ids"]
        if len(tokens) <= longest:
            yield CorpusPrompt(number, row["workload"], tokens)


def shard_paths(folder: Path) -> list[Path]:
    """Return the shards of a corpus, oldest first."""
    return sorted(folder.glob("shard-*.npz"))


class Shelf:
    """Collects answers into shards of a folder. `known` are the prompts that have answers there."""

    def __init__(self, folder: Path, per_shard: int) -> None:
        self.folder, self.per_shard = folder, per_shard
        folder.mkdir(parents=True, exist_ok=True)
        self.known: set[int] = set()
        for path in shard_paths(folder):
            with np.load(path) as shard:
                self.known.update(map(int, shard["number"]))
        self.waiting: list[Answer] = []

    def add(self, answers: list[Answer]) -> bool:
        """Take answers in; whether a shard was written."""
        self.waiting += answers
        if len(self.waiting) < self.per_shard:
            return False
        self.flush()
        return True

    def fill(self, batches: Iterable[list[Answer]], until: float, report: Report | None) -> int:
        """Take batches of answers in until they or the time (`time.time()`) end; the number of answer tokens."""
        written, began = 0, time.time()
        for answers in batches:
            written += sum(len(a.tokens) - len(a.prompt.tokens) for a in answers)
            if self.add(answers) and report:
                report(f"{written:,} answer tokens, {written / (time.time() - began):.0f} a second")
            if time.time() > until:
                break
        self.flush()
        return written

    def flush(self) -> None:
        """Write what waits."""
        if self.waiting:
            save_shard(self.folder / f"shard-{len(shard_paths(self.folder)):05d}.npz", self.waiting)
            self.waiting = []


@torch.inference_mode()
def write_corpus(
    model: Model,
    tokenizer: Any,
    prompts: Path,
    folder: Path,
    *,
    slots: int = 64,
    draws: int = 2,
    longest_prompt: int = 288,
    length: int = 512,
    stop: set[int],
    per_shard: int = 64,
    until: float = float("inf"),
    report: Report | None = None,
) -> int:
    """Answer the prompts of a file into a folder of shards until they or the time (`time.time()`) end.

    Returns the number of answer tokens written in this run. Unfinished answers of a stopped run are not kept.
    """
    shelf = Shelf(folder, per_shard)
    writer = Writer(model, slots=slots, draws=draws, length=length, stop=stop, seed=len(shelf.known))
    return shelf.fill(
        writer.run(read_prompts(prompts, tokenizer, shelf.known, longest_prompt)), until, report
    )


def pack_answers(folder: Path, path: Path) -> tuple[int, int]:
    """Write the tokens of a corpus alone, each prompt once; return how many answers and answer tokens."""
    prompts: dict[int, tuple[str, npt.NDArray[np.int32]]] = {}
    answers: dict[tuple[int, int], npt.NDArray[np.int32]] = {}
    for shard_path in shard_paths(folder):
        with np.load(shard_path) as shard:
            tokens, offsets = shard["tokens"], shard["offsets"]
            named = zip(
                shard["number"].tolist(), shard["draw"].tolist(), shard["workload"].tolist(), strict=True
            )
            lengths = shard["prompt_length"]
            for i, (number, draw, workload) in enumerate(named):
                text = tokens[offsets[i] : offsets[i + 1]]
                prompts[number] = workload, text[: lengths[i]]
                answers[number, draw] = text[lengths[i] :]
    if not answers:
        raise InputError(f"{folder}: no answers in it; write the corpus first")
    write_answers(path, prompts, answers)
    return len(answers), sum(map(len, answers.values()))


def write_answers(
    path: Path,
    prompts: dict[int, tuple[str, npt.NDArray[np.int32]]],
    answers: dict[tuple[int, int], npt.NDArray[np.int32]],
) -> None:
    """Write prompts by number (workload, tokens) and answers by (number, draw), as `read_answers` reads them."""
    order, keys = sorted(prompts), sorted(answers)
    largest = max(int(t.max()) for t in answers.values())
    largest = max(largest, *(int(t.max()) for _, t in prompts.values()))
    small = np.uint16 if largest < 2**16 else np.uint32
    with replacing(path) as temporary, temporary.open("wb") as out:
        np.savez_compressed(
            out,
            number=np.asarray(order, np.int32),
            workload=np.asarray([prompts[n][0] for n in order]),
            prompt_length=np.asarray([len(prompts[n][1]) for n in order], np.int32),
            prompts=np.concatenate([prompts[n][1] for n in order]).astype(small),
            answer_number=np.asarray([n for n, _ in keys], np.int32),
            draw=np.asarray([d for _, d in keys], np.int8),
            answer_length=np.asarray([len(answers[k]) for k in keys], np.int32),
            answers=np.concatenate([answers[k] for k in keys]).astype(small),
        )


def read_answers(path: Path) -> Iterator[tuple[CorpusPrompt, int, list[int]]]:
    """Prompt, draw and whole text of every answer that `pack_answers` wrote."""
    try:
        with np.load(path) as packed:
            data = {name: packed[name] for name in packed.files}
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: no readable file of answers ({error})") from error
    ends = np.cumsum(data["prompt_length"])
    prompts = {
        number: CorpusPrompt(number, workload, data["prompts"][end - n : end].tolist())
        for number, workload, n, end in zip(
            data["number"].tolist(), data["workload"].tolist(), data["prompt_length"], ends, strict=True
        )
    }
    end = 0
    for number, draw, n in zip(
        data["answer_number"].tolist(), data["draw"].tolist(), data["answer_length"].tolist(), strict=True
    ):
        end += n
        prompt = prompts[number]
        yield prompt, draw, [*prompt.tokens, *data["answers"][end - n : end].tolist()]


@torch.inference_mode()
def replay_corpus(
    model: Model,
    packed: Path,
    folder: Path,
    *,
    per_shard: int = 64,
    until: float = float("inf"),
    report: Report | None = None,
) -> int:
    """Make the shards of known answers: one pass a text. Returns the answer tokens of this run."""
    shelf = Shelf(folder, per_shard)
    texts = [text for text in read_answers(packed) if text[0].number not in shelf.known]
    if not texts:
        return 0
    longest = max(len(tokens) for _, _, tokens in texts)
    writer = Writer(model, slots=1, draws=1, length=longest, stop=set(), seed=0)
    # A prompt counts as known once one of its answers is there, so its answers stay in one shard.
    groups = itertools.groupby(texts, key=lambda text: text[0].number)
    return shelf.fill((writer.replay(list(group)) for _, group in groups), until, report)
