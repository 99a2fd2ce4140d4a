"""DART's own ablations on this model: ``python -m benchmarks.draft_ablations train`` and ``... search``.

``train`` teaches heads that differ in one thing, each from the same start, on the same answers once. That thing is
gamma, the decay of the loss over positions, or the shift. A shifted head predicts the token after each row, so that the
last real row gives the first draft token. Without the shift each mask predicts the token at its own place. All are
measured on held-out answers, the true tokens before each given. ``search`` answers prompts with trees of the shipped
head, whose scores weigh n-grams by beta. No figure has a clock in it.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import typer

from benchmarks.draft_methods import Course, Method, read_prompts
from benchmarks.eagle import one_epoch
from serve.command_app import Application, run
from serve.commands import ThreadsOption
from serve.engine.engine import Engine
from serve.model.decoder import Model
from serve.model.loader import load_checkpoint
from serve.spec_decode import registry
from serve.spec_decode.dart_head import DraftHead
from serve.spec_decode.head_drafting import DartProposer
from serve.spec_decode.training.losses import (
    Answered,
    Losses,
    Target,
    answer_losses,
    block_mask,
    decayed_kl,
)
from serve.spec_decode.training.train import Settings, Trainer
from serve.spec_decode.tree import SearchSettings, TreeSearch
from serve.threads import use_threads

GAMMAS = (0.2, 0.4, 0.6, 0.8, 1.0)
BETAS = (0.0, 0.25, 0.5, 1.0, 2.0)
SHOWN = 4
"""Positions whose accuracy is printed."""
Loss = Callable[[DraftHead, Target, Answered, Sequence[int], float], Losses]

app = Application("benchmarks.draft_ablations", "DART's own ablations: gamma, the shift, and beta.")


def anchored_losses(
    head: DraftHead, target: Target, answer: Answered, anchors: Sequence[int], gamma: float, *, shift: bool
) -> Losses:
    """`answer_losses` where every position is taught at the anchors alone, with the shift or without.

    At an anchor row n the wanted tokens are x_{n+2}, x_{n+3}, ... With the shift row n itself and its d - 1 masks give
    them; without, its d masks, each the token of its own place: row n has the embedding of x_{n+1}.
    """
    tokens, real = answer.tokens, len(answer.tokens) - 2
    h, masks = head.config.hidden, head.config.depth - shift
    g = head.fc(answer.taps[:real].float())
    z = head.real_rows(g, target.embedding[tokens[1 : real + 1]])
    rows = torch.as_tensor(anchors, dtype=torch.long)
    ahead = torch.arange(1, masks + 1).repeat(len(rows))
    positions = torch.cat([torch.arange(real), rows.repeat_interleave(masks) + ahead])
    residual = torch.cat([g, head.mask[:h].expand(len(ahead), h).to(g.dtype)])
    z = torch.cat([z, head.mask.expand(len(ahead), 2 * h).to(z.dtype)])
    keys, values = head.keys_values(z, positions)
    looking = torch.cat([rows, torch.arange(real, len(z))]) if shift else torch.arange(real, len(z))
    visible = block_mask(real, rows[None], masks)[0, looking]
    attended = head.attend(head.queries(z[looking], positions[looking]), keys, values, visible)
    found = head.finish(residual[looking], attended)
    depth = torch.cat([torch.ones_like(rows), ahead + 1]) if shift else ahead
    teacher_row = positions[looking] + int(shift)
    inside = teacher_row <= real
    return decayed_kl(head, target, answer, found[inside], depth[inside], teacher_row[inside], gamma)


VARIANTS: dict[str, tuple[float, Loss]] = {
    **{f"gamma {gamma:g}": (gamma, answer_losses) for gamma in GAMMAS},
    "gamma 0.6, taught at the anchors alone": (0.6, partial(anchored_losses, shift=True)),
    "... and not shifted": (0.6, partial(anchored_losses, shift=False)),
}


def taught(corpus: Path, tokens: int) -> Iterator[tuple[str, dict[str, object]]]:
    """Train every variant on the same answers and yield its measures on held-out ones."""
    checkpoint = load_checkpoint(None)
    for name, (gamma, loss) in VARIANTS.items():
        with tempfile.TemporaryDirectory() as state:
            settings = Settings(gamma=gamma)
            trainer = Trainer(
                Path(state), checkpoint.config, checkpoint.tensors, corpus, settings, set(checkpoint.eos)
            )
            trainer.run = loss  # type: ignore[assignment]
            one_epoch(trainer, tokens)
            trainer.settings = replace(settings, gamma=Settings().gamma)  # all losses are weighed alike
            yield name, trainer.validate()


@app.command()
def train(
    corpus: Annotated[Path, typer.Option(help="Folder of shards, as vckg-serve write-corpus leaves it.")],
    tokens: Annotated[int, typer.Option(min=1000, help="Answer tokens that each head sees.")] = 40_000,
    threads: ThreadsOption = None,
) -> None:
    """Train heads that differ in gamma or in the shift, on equal tokens."""
    use_threads(threads)
    heads = " | ".join(f"t={t}" for t in range(1, SHOWN + 1))
    sys.stdout.write(f"| head | steps | loss | {heads} | tokens in a row |\n|---|{'--:|' * (3 + SHOWN)}\n")
    for name, point in taught(corpus, tokens):
        accuracy: list[float] = point["accuracy"]  # type: ignore[assignment]
        chain, expected = 1.0, 0.0
        for share in accuracy:
            chain *= share
            expected += chain
        figures = " | ".join(f"{x:.3f}" for x in accuracy[:SHOWN])
        sys.stdout.write(
            f"| {name} | {point['steps']} | {point['loss']:.2f} | {figures} | {expected:.3f} |\n"
        )
        sys.stdout.flush()


@app.command()
def search(
    prompts: Annotated[Path, typer.Argument(help="JSONL with `messages` and `workload`.")],
    nodes: Annotated[list[int] | None, typer.Option(min=1, help="Nodes of a tree; may be repeated.")] = None,
    each: Annotated[int, typer.Option(min=1, help="Prompts per workload.")] = 4,
    max_tokens: Annotated[int, typer.Option(min=16, help="Tokens of an answer at most.")] = 48,
    threads: ThreadsOption = None,
) -> None:
    """Tokens a pass of trees of the head whose scores weigh the n-grams by beta."""
    use_threads(threads)
    checkpoint = load_checkpoint(None)
    model = Model.load(checkpoint, "float16")
    folder = registry.draft_folder(checkpoint.name)
    course = Course(checkpoint, model, (), folder, batch=1, max_tokens=max_tokens)
    for size in nodes or [5, 16]:
        for beta in BETAS:
            proposer = registry.make_proposer(
                "head",
                checkpoint,
                model,
                block_tokens=course.config.block_tokens,
                folder=folder,
                nodes=size,
            )
            assert isinstance(proposer, DartProposer)
            settings = SearchSettings(nodes=size, beta=beta)
            proposer.search = TreeSearch(settings, proposer.model.trie, min(checkpoint.eos))
            method = Method(f"beta {beta:g}", size)
            course.engines[method] = Engine(model, checkpoint, course.config, proposer)
    chosen = read_prompts(prompts, checkpoint.tokenizer, each)
    for turn, prompt in enumerate(chosen):
        course.run([prompt], turn)
        sys.stderr.write(f"{turn + 1} of {len(chosen)} prompts\n")
    workloads = [*sorted({p.workload for p in chosen}), "all"]
    sys.stdout.write(f"| tree | {' | '.join(workloads)} | different answers |\n")
    sys.stdout.write(f"|---|{'--:|' * (len(workloads) + 1)}\n")
    for method in course.engines:
        tallies = [course.tallies[method, workload] for workload in workloads]
        taus = " | ".join(f"{t.tokens / max(t.forwards, 1):.3f}" for t in tallies)
        sys.stdout.write(f"| {method.label} | {taus} | {tallies[-1].different} |\n")


if __name__ == "__main__":
    run(app, "benchmarks.draft_ablations")
