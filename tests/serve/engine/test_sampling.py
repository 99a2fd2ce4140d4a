from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from serve.engine.sampling import adjusted, log_probabilities, processed
from serve.errors import RequestError
from serve.request import SamplingParams
from serve.spec_decode.verify import RandomCoins


def by_definition(logits, params):
    """Sort everything and walk down the list."""
    z = [x / params.temperature for x in logits]
    if 0 < params.top_k < len(z):
        least = sorted(z, reverse=True)[params.top_k - 1]
        z = [x if x >= least else -np.inf for x in z]
    e = [np.exp(x - max(z)) for x in z]
    e = [x if x >= params.min_p else 0.0 for x in e]
    p = [x / sum(e) for x in e]
    kept, mass = [], 0.0
    for i in sorted(range(len(p)), key=lambda i: (-p[i], i)):
        if params.top_p < 1 and mass >= params.top_p:
            break
        kept.append(i)
        mass += p[i]
    kept = [i for i in kept if p[i] > 0]
    total, members = sum(p[j] for j in kept), set(kept)
    return np.array([p[i] / total if i in members else 0.0 for i in range(len(p))])


@settings(max_examples=200, deadline=None)
@given(
    logits=st.lists(st.integers(-8, 8).map(lambda x: x / 2), min_size=1, max_size=12),
    temperature=st.sampled_from([0.3, 1.0, 1.7]),
    top_k=st.integers(0, 13),
    top_p=st.sampled_from([0.11, 0.5, 0.87, 1.0]),
    min_p=st.sampled_from([0.0, 0.07, 0.6, 1.0]),
)
def test_the_distribution_equals_its_definition(logits, temperature, top_k, top_p, min_p):
    params = SamplingParams(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p)
    got = processed(np.array(logits), params)
    np.testing.assert_allclose(got, by_definition(logits, params), atol=1e-12)


@given(
    st.lists(st.integers(0, 5), max_size=9),
    st.floats(-2, 2),
    st.floats(-2, 2),
    st.dictionaries(st.integers(0, 5), st.floats(-100, 100), max_size=3),
)
def test_penalties_and_biases_equal_their_definition(output, frequency, presence, bias):
    logits = np.array([0.5, 3.0, -2.0, 3.0, 0.0, 1.0])
    params = SamplingParams(
        frequency_penalty=frequency, presence_penalty=presence, logit_bias=tuple(bias.items())
    )
    wanted = [
        x - frequency * output.count(t) - (presence if t in output else 0.0) + bias.get(t, 0.0)
        for t, x in enumerate(logits)
    ]
    np.testing.assert_allclose(adjusted(logits, output, params), wanted, atol=1e-12)


@pytest.mark.parametrize("spread", [0.01, 3.0])  # the nucleus beyond the first look, and within it
def test_the_nucleus_of_a_large_vocabulary_equals_its_definition(spread):
    logits = np.random.default_rng(0).normal(size=5000) * spread
    params = SamplingParams(temperature=1.0, top_p=0.9)
    np.testing.assert_allclose(processed(logits, params), by_definition(logits.tolist(), params), atol=1e-12)


def test_draws_follow_the_distribution():
    p = processed(np.array([0.0, 1.0, 2.0, -1.0]), SamplingParams(temperature=0.8, top_k=3))
    coins = RandomCoins(np.random.default_rng(5))
    counts = np.bincount([coins.draw(p) for _ in range(20_000)], minlength=4)
    assert counts[3] == 0
    assert chisquare(counts[:3], 20_000 * p[:3]).pvalue > 1e-3


def test_log_probabilities_are_the_raw_ones_best_first():
    logits = np.array([1.0, 3.0, 2.0, 3.0])
    expected = logits - np.log(np.exp(logits).sum())
    got = log_probabilities(logits, 2, 3)
    assert got.logprob == pytest.approx(expected[2])
    assert got.rank == 3
    assert [t for t, _ in got.top] == [1, 3, 2]
    assert [p for _, p in got.top] == pytest.approx([expected[1], expected[3], expected[2]])


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("temperature", -0.1),
        ("temperature", float("nan")),
        ("top_p", 0.0),
        ("top_p", 1.5),
        ("top_k", -1),
        ("max_tokens", -1),
        ("logprobs", 21),
        ("prompt_logprobs", 21),
    ],
)
def test_parameters_out_of_range_are_refused_by_name(field, value):
    with pytest.raises(RequestError, match=field) as caught:
        SamplingParams(**{field: value})
    assert caught.value.param == field
