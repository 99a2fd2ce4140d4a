"""Words in their order, against shuffled ones."""

import numpy as np
import pytest

from arena.scoring import wording


@pytest.mark.parametrize("n", [1, 2, 5, 12, 30])
def test_words_in_order_by_chance(n: int) -> None:
    draw, words = np.random.default_rng(n), [str(i) for i in range(n)]
    lengths = [wording.common_in_order(words, draw.permutation(words).tolist()) for _ in range(2000)]
    assert wording.in_order_by_chance(n) == pytest.approx(np.mean(lengths), abs=0.15)
