"""DART on the embedded model: 200 real prompts give the plain answers in float32."""

from pathlib import Path

import pytest

from benchmarks.draft_methods import read_prompts
from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from serve.model.loader import Checkpoint, tokenizer_hash
from serve.request import SamplingParams
from serve.spec_decode.registry import draft_folder, make_proposer

HELDOUT = Path(__file__).parents[3] / "draft" / "heldout.jsonl"


def test_the_committed_draft_files_fit_the_embedded_model(embedded: Checkpoint) -> None:
    from serve.spec_decode.dart_head import load_head
    from serve.spec_decode.ngram_trie import Trie

    folder = draft_folder(embedded.name)
    assert folder is not None
    known = tokenizer_hash(embedded.tokenizer)
    head = load_head(folder / "head.safetensors", known)
    assert head.config.vocabulary == embedded.config.vocab_size
    assert (folder / "head.safetensors").stat().st_size <= 25_000_000
    assert Trie.load(folder / "answers.ngram", known).vocabulary == embedded.config.vocab_size


@pytest.mark.soak
@pytest.mark.slow
def test_200_real_prompts_give_the_plain_answers(embedded: Checkpoint) -> None:
    """A difference is only accepted where the two best logits are closer than float32 can tell apart: none so far."""
    model = Model.load(embedded, "float32")
    prompts = [p.tokens for p in read_prompts(HELDOUT, embedded.tokenizer, 50)]
    assert len(prompts) == 200
    params, config = SamplingParams(max_tokens=24), EngineConfig(max_running=8)
    plain = [c.tokens for c in Engine(model, embedded, config).generate(prompts, params)]
    folder = draft_folder(embedded.name)
    proposer = make_proposer(
        "dart", embedded, model, block_tokens=config.block_tokens, folder=folder, nodes=8
    )
    drafted = [c.tokens for c in Engine(model, embedded, config, proposer).generate(prompts, params)]
    assert proposer.stats.accepted > 0
    assert drafted == plain
