"""What no sample may ask: the activated gene itself, genes of every cell as markers, a label that its genes deny."""

import pytest

from arena.datasets import admission, fresh
from arena.datasets.virtual_cell import Interaction
from arena.scoring import gene_lists


def test_an_activated_gene_is_no_candidate() -> None:
    asked = Interaction(
        regulators=("KLF1",), effect="activation", up=("HBG1",), down=("KLF1", "SPI1"), control=(), outcome=()
    )
    left = fresh._without_regulators(asked)
    assert (left.up, left.down) == (("HBG1",), ("SPI1",))


@pytest.mark.parametrize(
    ("gene", "left_out"),
    [("RPL13A", True), ("Rps27a", True), ("RPLP0", True), ("MRPL12", True), ("MT-CO1", True), ("RPSA", True),
     ("MTOR", False), ("RPTOR", False), ("RPN1", False), ("MRPS", False), ("CD3E", False)],
)  # fmt: skip
def test_ribosomal_and_mitochondrial_genes_mark_no_type(gene: str, left_out: bool) -> None:
    assert bool(admission.UNINFORMATIVE.match(gene)) == left_out


def test_a_label_in_doubt_is_of_a_known_set() -> None:
    assert ("wu2021", "CL:0000787") in admission.doubted()


def test_half_right_in_both_is_half_right() -> None:
    assert gene_lists._f1(0.5, 0.5) == 0.5
    assert gene_lists._f1(1, 0) == gene_lists._f1(0, 0) == 0


def test_a_gene_that_the_list_lacks_is_no_real_one() -> None:
    assert gene_lists._plausible(["A", "B"], {"A", "B"}, wanted=8, shared=1.0) == 0.25
    assert gene_lists._plausible([], {"A"}, wanted=8, shared=1.0) == 0
