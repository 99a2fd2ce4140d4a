import pandas as pd
import pytest

from gather.species import HUMAN, MOUSE, by_upper_case, declared_taxon, detect
from vckg.base.errors import InputError

SHARED = ["CD3D", "CD79A", "LYZ", "GAPDH", "ACTB", "MS4A1"]


@pytest.mark.parametrize(
    "own", [["GM38380", "H2-AB1", "1110017D15RIK"], ["Gm38380", "H2-Ab1", "1110017D15Rik"]]
)
def test_mouse_is_told_by_its_own_symbols_whatever_their_case(own) -> None:
    found = detect(SHARED + own)
    assert (found.species, found.by) == (MOUSE, "3 symbols that only mouse has")


@pytest.mark.parametrize(
    "names", [SHARED, [*SHARED, "HLA-DRA", "LINC01234", "C1orf127"], ["GM2A", "GMNN", "GMPR", *SHARED]]
)
def test_human_symbols_are_human(names) -> None:
    assert detect(names).species == HUMAN


def test_case_alone_is_said() -> None:
    assert detect([n.capitalize() for n in SHARED]).by == "the case of its symbols alone"
    assert detect([n.capitalize() for n in SHARED], wanted=HUMAN).species == HUMAN
    assert detect(SHARED, declared="NCBITaxon:10090").species == MOUSE


def test_ids_tell() -> None:
    assert detect([f"ENSMUSG{i:011}" for i in range(9)]).by == "gene ids"
    assert detect([f"ENSG{i:011}.3" for i in range(9)]).species == HUMAN


@pytest.mark.parametrize("starts", [("GRCh38_", "mm10___"), ("ENSG0000000000", "ENSMUSG0000000000")])
def test_two_species_are_refused_with_the_split(starts) -> None:
    names = [f"{start}{i}" for start in starts for i in range(8)]
    with pytest.raises(InputError, match=r"8 human and 8 mouse.*str\.match\('(mm10___|ENSMUSG)'\)"):
        detect(names)


def test_the_declared_taxon() -> None:
    obs = pd.DataFrame({"organism_ontology_term_id": ["NCBITaxon:10090", "NCBITaxon:10090"]})
    assert declared_taxon(obs, {}) == "NCBITaxon:10090"
    assert declared_taxon(pd.DataFrame(), {"organism": "Mus musculus"}) == "Mus musculus"
    assert declared_taxon(pd.DataFrame(), {}) is None
    with pytest.raises(InputError, match=r"2 species.*give each a file of its own"):
        declared_taxon(pd.DataFrame({"organism": ["human", "mouse"]}), {})
    with pytest.raises(InputError, match="human and mouse are served"):
        detect(SHARED, declared="NCBITaxon:10116")


def test_what_only_mouse_has_gets_no_human_name() -> None:
    assert by_upper_case(["Cd3d", "Gm38380", "ENSMUSG00000032094", "mm10___Lyz"]).human == (
        "CD3D",
        "",
        "",
        "LYZ",
    )
