"""Every source's reader on a small file of exactly its publisher's form, and on thousands of damaged ones."""

import bz2
import gzip
import io
import lzma
import random
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from tests.vckg.readers.forms import FORMS, Form, Triples, write
from vckg.base.errors import KnownError, SourceError
from vckg.build.source_table import Source, shipped_sources
from vckg.graph.statements import Reading
from vckg.readers import parse_options, reader
from vckg.readers._csv import _Lines, read_columns

SOURCES = {s.name: s for s in shipped_sources()}
DAMAGED = 60


def read(source: Source, files: dict[str, Path]) -> Reading:
    # the options of the first route hold; a copy cut off within a line is a matter of that one file
    options = {k: v for k, v in {**source.options, **source.routes[0].options}.items() if k != "cut_off"}
    found = reader(source.reader)
    return found(files, **parse_options(found, options, source.name))


def triples(reading: Reading) -> Triples:
    result = set()
    for s in reading.statements:
        for i in range(len(s)):
            ends = [next((n for e in end if (n := e.names[i].as_py())), "") for end in (s.subject, s.object)]
            result.add((s.relation, *ends))
    return result


def letters(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]", "", text)


def test_every_source_has_a_form_here() -> None:
    assert set(FORMS) == set(SOURCES)


#: The sources that the published graph's builder names (README of the GATHER repository), and our rows of them.
PUBLISHED = {
    "NCBI Gene": ["ncbi_gene"],
    "BioGRID": ["biogrid", "biogrid_tab3"],
    "Alliance": ["alliance"],
    "Cell Ontology": ["cl", "cl_obo"],
    "Cell Taxonomy": ["cell_taxonomy"],
    "CellPhoneDB": ["cellphonedb"],
    "CELLxGENE": ["cellxgene"],
    "Gene Ontology": ["go", "go_obo"],
    "GO annotation": ["goa"],
    "HGNC": ["hgnc"],
    "PathBank": ["pathbank"],
    "STRING": ["string_scores"],
    "Human Protein Atlas": ["hpa"],
    "UniProt": ["uniprot"],
    "CellMarker": ["cellmarker"],
    "Reactome": ["reactome", "reactome_ncbi"],
    "KEGG": ["kegg"],
    "Disease Ontology": ["doid", "doid_obo"],
    "MONDO": ["mondo"],
    "HPO": ["hp", "hpo_genes"],
    "UBERON": ["uberon", "uberon_obo"],
    "Relation Ontology": ["ro"],
    "TRRUST": ["trrust"],
    "JASPAR": ["jaspar"],
    "ChEA3": ["chea3"],
    "MSigDB": ["hallmark", "msigdb_c8"],
    "CTD": ["ctd_diseases", "ctd_chemicals"],
    "DGIdb": ["dgidb"],
    "OmniPath": ["omnipath", "liana"],
    "Ensembl": ["ensembl"],
    "GENCODE": ["gencode", "gencode_gtf"],
}


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_source_of_the_published_graph_has_a_row(name: str) -> None:
    for row in PUBLISHED[name]:
        source = SOURCES[row]
        assert source.licence
        assert source.citation
        assert row in FORMS


def test_what_must_not_be_passed_on_is_read_from_the_users_own_file_only() -> None:
    local = {s.name for s in SOURCES.values() if {r.kind for r in s.routes} == {"local"}}
    assert local == {"kegg", "pathbank", "msigdb_c8", "ctd_diseases", "ctd_chemicals"}
    for name in local:
        assert not SOURCES[name].redistribute
        assert SOURCES[name].note, "what the user must accept and where the file goes"


@pytest.mark.parametrize("name", FORMS)
def test_a_file_of_the_publishers_form_is_read(tmp_path: Path, name: str) -> None:
    form: Form = FORMS[name]
    reading = read(SOURCES[name], write(tmp_path, form))
    assert triples(reading) == form.triples
    for reason, count in form.rejected.items():
        matching = {r: n for r, n in reading.rejected.counts.items() if letters(r) == letters(reason)}
        assert sum(matching.values()) == count, (reason, reading.rejected.counts)
    assert reading.rows > 0


@pytest.mark.parametrize("name", ["collectri", "goa", "cl"])
def test_a_compressed_file_reads_the_same(tmp_path: Path, name: str) -> None:
    form = FORMS[name]
    packed = Form({part: gzip.compress(content) for part, content in form.files.items()}, form.triples)
    assert triples(read(SOURCES[name], write(tmp_path, packed))) == form.triples


def test_an_hgnc_table_in_hgncs_own_form_gives_the_same_names(tmp_path: Path) -> None:
    (tmp_path / "main").write_text(
        "hgnc_id\tsymbol\tname\tstatus\talias_symbol\tprev_symbol\tentrez_id\tuniprot_ids\tensembl_gene_id\n"
        'HGNC:1673\tCD3D\tCD3 delta\tApproved\t"T3D|IMD19"\tOLD\t915\tP04234\tENSG00000167286\n'
    )
    reading = reader("hgnc")({"main": tmp_path / "main"}, form="hgnc")
    names = {(n, names.kind) for names in reading.names for n in names.names.to_pylist()}
    assert names == {("T3D", "genes.alias"), ("IMD19", "genes.alias"), ("OLD", "genes.previous")}
    assert reading.nodes[0]["xrefs"][0].as_py() == [
        "ENSEMBL:ENSG00000167286",
        "NCBIGene:915",
        "UniProtKB:P04234",
    ]


def damaged(content: bytes, rng: random.Random) -> bytes:
    """One file with one fault of a kind that truncation, editors, spreadsheets and bad disks make."""
    data = bytearray(content)
    lines = content.split(b"\n")
    index, line = rng.randrange(len(data)), rng.randrange(len(lines))
    kind = rng.randrange(8)
    if kind == 0:
        return bytes(data[:index])
    if kind == 1:
        data[index] = rng.randrange(256)
        return bytes(data)
    if kind == 2:
        return bytes(
            data[:index] + bytes(rng.randrange(256) for _ in range(rng.randrange(1, 20))) + data[index:]
        )
    if kind == 3:
        return b"\n".join([*lines[:line], *lines[line + 1 :]])
    if kind == 4:
        return b"\n".join([*lines[: line + 1], *lines[line:]])
    if kind == 5:
        return content.replace(
            rng.choice([b"\t", b",", b'"', b":", b"{", b"["]), rng.choice([b"", b" ", b"\t\t", b'"']), 1
        )
    if kind == 6:
        return b"\n".join([*lines[:line], b"\t".join(reversed(lines[line].split(b"\t"))), *lines[line + 1 :]])
    return rng.choice(
        [
            b"",
            b"\n",
            b"\xff\xfe",
            b"null",
            b"[]",
            b"{}",
            b"<html>404</html>",
            b"[1]",
            b'{"a": 1}',
            b"\x1f\x8b",
        ]
    )


#: The one place where a message names the file alone: what is wrong there has no line. JSON of another shape is
#: told by its path (none at the top), and workbooks, databases and archives that do not open have no lines at all.
NO_LINE = "|".join(
    (
        "Expected `",
        "Object missing",
        r"at `\$",
        "not readable: ",
        r"no \[Term\] in it",
        "not an OBO file obonet reads",
        "Invalid UTF-8",
        "not a readable workbook",
        "the encyclopedia's database",
    )
)


@pytest.mark.parametrize("name", FORMS)
def test_a_damaged_file_raises_only_the_documented_error(tmp_path: Path, name: str) -> None:
    fuzz(tmp_path, name, DAMAGED)


@pytest.mark.soak
@pytest.mark.slow
@pytest.mark.parametrize("read_by", sorted({s.reader for s in SOURCES.values()}))
def test_every_reader_meets_ten_thousand_damaged_files(tmp_path: Path, read_by: str) -> None:
    names = [name for name in FORMS if SOURCES[name].reader == read_by]
    for name in names:
        fuzz(tmp_path, name, -(-10_000 // len(names)))


def fuzz(folder: Path, name: str, times: int) -> None:
    form = FORMS[name]
    rng = random.Random(name)
    for _ in range(times):
        part = rng.choice(sorted(form.files))
        content = damaged(form.files[part], rng)
        files = write(folder, form._replace(files=form.files | {part: content}))
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", UserWarning)  # openpyxl about odd workbooks
                read(SOURCES[name], files)
        except SourceError as error:
            message = str(error)
        except Exception as error:
            error.add_note(f"{name} {part}: {content[:2000]!r}")
            raise
        else:
            continue
        assert "\n" not in message
        assert re.match(rf"{re.escape(str(folder))}/{part}(:\d+: |: .*({NO_LINE}))", message), message


@given(st.lists(st.sampled_from([b"a", b"#", b"\r", b"\n", b"\r\n", b"\t", b"xyz"])), st.integers(1, 5))
def test_lines_end_alike_wherever_a_file_is_cut_into_blocks(words: list[bytes], size: int) -> None:
    content = b"".join(words)
    expected = content.replace(b"\r\n", b"\n").replace(b"\r", b" ")
    with patch("vckg.readers._csv._BLOCK", size):
        lines = _Lines(io.BytesIO(content))
        assert [lines.line(i) for i in range(3)] == (expected.split(b"\n") + [b""] * 3)[:3]
        assert b"".join(iter(lambda: lines.read(2), b"")) == expected


@pytest.mark.parametrize("pack", [gzip.compress, bz2.compress, lzma.compress, zstandard.compress])
def test_a_cut_off_archive_is_a_source_error_naming_the_file(
    tmp_path: Path, pack: Callable[[bytes], bytes]
) -> None:
    rows = b"a\tb\n" + b"".join(b"%d\t%d\n" % (i, i * i) for i in range(2000))
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    whole.write_bytes(pack(rows))
    assert read_columns(whole, ["b"]).num_rows == 2000
    cut.write_bytes(pack(rows)[:-20])
    with pytest.raises(KnownError, match="cut"):
        read_columns(cut, ["b"])


def test_a_separator_inside_quotes_separates_no_columns(tmp_path: Path) -> None:
    path = tmp_path / "table.csv"
    path.write_text('"gene","cell, as printed"\nCD19,"B cell, naive"\n')
    table = read_columns(path, ["gene", "cell, as printed"], separator=",", quoted=True)
    assert table.to_pylist() == [{"gene": "CD19", "cell, as printed": "B cell, naive"}]
