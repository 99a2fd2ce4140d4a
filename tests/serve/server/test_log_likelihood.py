"""Twenty questions of marker genes, scored as lm-evaluation-harness does, against transformers' forward pass."""

from __future__ import annotations

import openai
import pytest
import torch

from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from tests.serve.servers import KEY, running

MARKERS = {
    "B cell": ("MS4A1", "CD79A", "CD19"), "T cell": ("CD3D", "CD3E", "CD2"), "monocyte": ("CD14", "LYZ"),
    "NK cell": ("NKG7", "GNLY"), "hepatocyte": ("ALB", "APOA1"), "platelet": ("PPBP", "PF4"),
    "neuron": ("RBFOX3", "SNAP25"), "fibroblast": ("COL1A1", "DCN"), "erythrocyte": ("HBB", "HBA1"),
}  # fmt: skip
QUESTIONS = [(gene, cell) for cell, genes in MARKERS.items() for gene in genes]
TOLERANCE = {"float32": 1e-3, "float16": 0.05}
"""Of a text's log-likelihood, in nats: float16 rounds each weight."""


@pytest.mark.slow
@pytest.mark.parametrize("precision", sorted(TOLERANCE))
@torch.inference_mode()
def test_log_likelihoods_equal_those_of_a_full_forward(embedded, precision) -> None:
    from transformers import AutoModelForCausalLM

    assert len(QUESTIONS) == 20
    reference = AutoModelForCausalLM.from_config(embedded.config, dtype=torch.float32).eval()
    reference.load_state_dict(embedded.tensors, strict=False)
    reference.tie_weights()
    encode = embedded.tokenizer.backend_tokenizer.encode
    asked = []
    for gene, _ in QUESTIONS:
        context = encode(f"Question: Which cell expresses {gene}?\nAnswer:").ids
        asked += [(context, encode(f" {cell}").ids) for cell in MARKERS]
    engine = Engine(Model.load(embedded, precision), embedded, EngineConfig(cache_tokens=4096))
    got = []
    with running(engine) as (base, _, _):
        client = openai.OpenAI(base_url=f"{base}/v1", api_key=KEY, max_retries=0)
        for start in range(0, len(asked), 9):
            prompts = [context + answer for context, answer in asked[start : start + 9]]
            answer = client.completions.create(
                model="tiny", prompt=prompts, max_tokens=1, logprobs=1, echo=True, temperature=0, seed=1234
            )
            got += [choice.logprobs for choice in answer.choices]
    differences, agreed = [], 0
    for (context, answer), scores in zip(asked, got, strict=True):
        rows = reference(torch.tensor([context + answer])).logits[0, len(context) - 1 : -1].log_softmax(-1)
        own = rows[range(len(answer)), answer]
        theirs = scores.token_logprobs[len(context) : -1]
        differences.append(abs(float(own.sum()) - sum(theirs)))
        best = [max(top.values()) for top in scores.top_logprobs[len(context) : -1]]
        agreed += (theirs == best) == bool((own == rows.max(-1).values).all())
    assert max(differences) < TOLERANCE[precision], max(differences)
    assert agreed == len(asked)
