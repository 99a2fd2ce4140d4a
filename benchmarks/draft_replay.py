"""``python -m benchmarks.draft_replay draft/heldout.jsonl --answers FILE``: tokens a pass of methods without a model.

Plain greedy answers are written once to FILE. Each method then drafts along them, and what it would have had accepted
is counted: tokens a pass (tau) at equal nodes, with no clock. All methods may use the answers that came before, and
what is known of the training answers: SuffixDecoding those answers themselves, n-grams their counts
(draft/answers.ngram), prompt lookup neither.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.draft_methods import Prompt, looping, read_prompts
from benchmarks.draft_peers import SuffixProposer
from serve.atomic import write_text
from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, load_checkpoint, tokenizer_hash
from serve.request import Request, SamplingParams
from serve.spec_decode.ngram_trie import Trie
from serve.spec_decode.prompt_lookup import LookupProposer
from serve.spec_decode.proposer import DraftTree, Observed
from serve.spec_decode.proposers import NgramProposer, Sized
from serve.spec_decode.registry import TRIE
from serve.spec_decode.training.corpus import read_answers
from serve.threads import use_threads

DRAFT = Path(__file__).parents[1] / "draft"
METHODS = ("lookup", "ngram", "suffix")


def plain_answers(
    path: Path, checkpoint: Checkpoint, prompts: Sequence[Prompt], tokens: int
) -> dict[str, list[int]]:
    """Greedy answers by prompt; those that are in the file are not written again."""
    known: dict[str, list[int]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    new = [p for p in prompts if p.id not in known]
    if new:
        engine = Engine(Model.load(checkpoint, "float16"), checkpoint, EngineConfig(16_384, 16, 16))
        done = engine.generate([p.tokens for p in new], SamplingParams(max_tokens=tokens))
        known |= {p.id: c.tokens for p, c in zip(new, done, strict=True)}
        write_text(path, json.dumps(known) + "\n")
    return {p.id: known[p.id] for p in prompts}


def proposer(method: str, nodes: int, checkpoint: Checkpoint, known: Sequence[Sequence[int]]) -> Sized:
    """A method with its knowledge of the training answers."""
    if method == "lookup":
        return LookupProposer(nodes=nodes)
    if method == "suffix":
        return SuffixProposer(nodes, known)
    trie = Trie.load(DRAFT / TRIE, tokenizer_hash(checkpoint.tokenizer))
    return NgramProposer(trie, min(checkpoint.eos), nodes=nodes)


def accepted(tree: DraftTree, answer: Sequence[int]) -> int:
    """Nodes of a tree on the path that the answer takes."""
    place = {
        (p, t): i for i, (p, t) in enumerate(zip(tree.parents.tolist(), tree.tokens.tolist(), strict=True))
    }
    node, n = -1, 0
    while n < len(answer) and (node, answer[n]) in place:
        node, n = place[node, answer[n]], n + 1
    return n


def replay(method: Sized, prompt: Prompt, answer: Sequence[int], nodes: int) -> tuple[int, int]:
    """Tokens and passes of one answer; the first token comes from the prompt's pass."""
    request = Request(prompt.id, prompt.tokens, SamplingParams(max_tokens=len(answer)))
    request.tokens.append(answer[0])
    passes = 0
    while request.n_output < len(answer):
        left = answer[request.n_output :]
        (tree,) = method.propose([request], [min(nodes, len(left) - 1)])
        kept = min(accepted(tree, left), len(left) - 1)
        start = len(request.tokens) - 1
        request.tokens += left[: kept + 1]
        method.observe([Observed(request, start, np.empty(0, np.int64), None, len(tree), kept)])
        passes += 1
    method.release(request)
    return len(answer) - 1, passes


def main() -> None:
    """Print tau by method, nodes and workload."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prompts", type=Path)
    parser.add_argument("--answers", type=Path, required=True)
    parser.add_argument("--each", type=int, default=25, help="prompts per workload")
    parser.add_argument("--nodes", type=int, nargs="+", default=[5, 8, 16])
    parser.add_argument("--max-tokens", type=int, default=64)
    chosen = parser.parse_args()
    use_threads(None)
    checkpoint = load_checkpoint(None)
    prompts = read_prompts(chosen.prompts, checkpoint.tokenizer, chosen.each)
    answers = plain_answers(chosen.answers, checkpoint, prompts, chosen.max_tokens)
    prompts = [p for p in prompts if len(answers[p.id]) > 8 and not looping(answers[p.id])]
    known = [tokens[len(p.tokens) :] for p, _, tokens in read_answers(DRAFT / "answers.npz")]
    workloads = sorted({p.workload for p in prompts})
    sys.stdout.write(f"{len(prompts)} answers, {sum(len(answers[p.id]) for p in prompts):,} tokens\n\n")
    sys.stdout.write(f"| method | {' | '.join(workloads)} | all |\n" + "|---" * (len(workloads) + 2) + "|\n")
    for nodes in chosen.nodes:
        for name in METHODS:
            method = proposer(name, nodes, checkpoint, known)
            counts = {w: np.zeros(2) for w in workloads}
            for prompt in prompts:
                counts[prompt.workload] += replay(method, prompt, answers[prompt.id], nodes)
            taus = [counts[w][0] / counts[w][1] for w in workloads]
            total = sum(counts.values(), np.zeros(2))
            figures = " | ".join(f"{tau:.3f}" for tau in (*taus, total[0] / total[1]))
            sys.stdout.write(f"| {name} N={nodes} | {figures} |\n")
            sys.stdout.flush()


if __name__ == "__main__":
    main()
