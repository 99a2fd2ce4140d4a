import contextlib
from io import StringIO

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from gather.cells.options import Options
from gather.cli import app
from gather.inputs.kinds import kind_of, stem_of
from gather.inputs.marker_columns import columns_of
from gather.inputs.marker_sets import NO_FDR, MarkerWork, as_anndata
from gather.inputs.marker_tables import is_marker_table, read_marker_table, table_of_frame
from gather.inputs.text import head_of_text, writes_decimal_commas
from gather.inputs.text_matrix import read_text_matrix
from vckg.base.errors import InputError

SEURAT = """"","p_val","avg_log2FC","pct.1","pct.2","p_val_adj","cluster","gene"
"CD3D",1e-50,2.0,0.9,0.1,1e-46,"T","CD3D"
"IL7R",1e-40,9.0,0.2,0.05,1e-36,"T","IL7R"
"LYZ",1e-40,-3.0,0.1,0.9,1e-36,"T","LYZ"
"LYZ.1",1e-60,4.0,1,0.2,1e-56,"M","LYZ"
"CD14",1e-60,3.0,0.5,0.01,1e-56,"M","CD14"
"""


def read(tmp_path, text: str, name: str = "t.csv"):
    (tmp_path / name).write_text(text)
    return read_marker_table(tmp_path / name)


def test_seurat_is_ranked_as_cells_are(tmp_path) -> None:
    table = read(tmp_path, SEURAT)
    assert table.form == "Seurat FindAllMarkers"
    assert table.genes == {
        "T": ("CD3D", "IL7R"),
        "M": ("LYZ", "CD14"),
    }  # 2 * 0.9 before 5 * 0.2; LYZ is less in T
    assert table.strengths["T"] == pytest.approx((1.8, 1.0))
    assert table.background is None


def test_the_user_names_the_column_of_clusters(tmp_path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("gene,cluster, my clusters \nCD3D,0,T\nIL7R,1,T\nLYZ,1,M\n")
    assert read_marker_table(path, "my clusters").genes == {"T": ("CD3D", "IL7R"), "M": ("LYZ",)}
    assert set(read_marker_table(path, "cluster").genes) == {"0", "1"}
    with pytest.raises(
        InputError, match=r"no column 'clusters' \(did you mean 'cluster'\?\).*are gene, cluster, my clusters"
    ):
        read_marker_table(path, "clusters")
    path.write_text('cluster,top\nT,"CD3D, IL7R"\nM,"LYZ, CD14"\n')
    with pytest.raises(
        InputError, match=r"needs a gene in each row.* column of genes.*columns here are cluster, top"
    ):
        read_marker_table(path, "cluster")


def test_seurat_3_and_presto_give_natural_logarithms() -> None:
    rows = {"gene": ["A", "B"], "cluster": ["0", "0"], "avg_logFC": [np.log(2), np.log(4)], "pct.1": [1, 1]}
    assert table_of_frame(pd.DataFrame(rows), where="t").strengths["0"] == pytest.approx((2.0, 1.0))
    rows = {
        "feature": ["A", "B"],
        "group": ["0", "0"],
        "logFC": [np.log(2), np.log(4)],
        "pct_in": [50, 100],
        "auc": 0.9,
    }
    assert table_of_frame(pd.DataFrame(rows), where="t").strengths["0"] == pytest.approx((2.0, 0.5))
    rows = {"gene": ["A", "B"], "cluster": ["0", "0"], "logFC": [1.0, 2.0]}
    assert table_of_frame(pd.DataFrame(rows), where="t").strengths["0"] == (2.0, 1.0)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("t.gmt", "T\tmarkers\tCD3D\tIL7R\nM\tmarkers\tLYZ\tCD14\n"),
        ("t.csv", 'cluster,markers\nT,"CD3D, IL7R"\nM,"LYZ, CD14"\n'),
        ("t.csv", 'cluster,top\nT,"CD3D, IL7R"\nM,"LYZ, CD14"\n'),
        ("t.csv", ',Broad.cell.type,Top.Markers\n0,T,"CD3D,IL7R"\n1,M,"LYZ,CD14"\n'),
        ("t.txt", "T: CD3D, IL7R\nM: LYZ, CD14\n"),
        ("t.csv", "cluster,genes\nT,CD3D;IL7R\nM,LYZ;CD14\n"),
        ("t.csv", 'cluster,genes\nT,"CD3D  IL7R"\nM,"LYZ, CD14"\n'),
        ("t.tsv", "\tT\tM\n0\tCD3D\tLYZ\n1\tIL7R\tCD14\n2\t\t\n3\t\t\n"),
    ],
)
def test_lists_keep_their_order(tmp_path, name: str, text: str) -> None:
    table = read(tmp_path, text, name)
    assert table.genes == {"T": ("CD3D", "IL7R"), "M": ("LYZ", "CD14")}
    assert table.strengths == {}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("colons.txt", "T: CD3D, CD3E\nB: CD79A, MS4A1\nT: IL7R, CD3D\n"),
        ("lists.csv", 'cluster,genes\nT,"CD3D, CD3E"\nB,"CD79A, MS4A1"\nT,"IL7R, CD3D"\n'),
        ("sets.gmt", "T\tna\tCD3D\tCD3E\nB\tna\tCD79A\tMS4A1\nT\tna\tIL7R\tCD3D\n"),
    ],
)
def test_a_cluster_that_stands_twice_keeps_the_genes_of_both_lines(tmp_path, name: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_marker_table(tmp_path / name).genes == {
        "T": ("CD3D", "CD3E", "IL7R"),
        "B": ("CD79A", "MS4A1"),
    }


def test_a_table_of_markers_may_be_answered_as_a_table(tmp_path, blood_graph) -> None:
    (tmp_path / "m.csv").write_text(
        "gene,cluster,avg_log2FC,p_val_adj,pct.1,pct.2\n"
        + "".join(f"{gene},7,2.0,0.001,0.9,0.1\n" for gene in ("CD3D", "CD3E", "IL7R", "LCK"))
    )
    words = ["annotate", "m.csv", "-o", "named.csv", "-g", str(blood_graph.save(tmp_path / "graph"))]
    with contextlib.chdir(tmp_path):
        done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    named = pd.read_csv(tmp_path / "named.csv", index_col=0)
    assert named.index.tolist() == [7]
    assert named.loc[7, "gather_cell_type"] == "T cell"
    assert "CD3D (" in named.loc[7, "gather_best_evidence"]
    assert not list(tmp_path.glob("*.h5ad"))


@pytest.mark.parametrize("gap", ["", "NA", "NaN"])
def test_columns_of_clusters_may_end_early(tmp_path, gap: str) -> None:
    table = read(tmp_path, f",T,M,B\n0,CD3D,LYZ,MS4A1\n1,IL7R,{gap},CD79A\n2,TRAC,{gap},{gap}\n")
    assert table.genes == {"T": ("CD3D", "IL7R", "TRAC"), "M": ("LYZ",), "B": ("MS4A1", "CD79A")}


def test_a_table_that_lists_every_gene_for_every_cluster_says_what_was_measured() -> None:
    genes = [f"G{i}" for i in range(120)]
    frame = pd.DataFrame({"names": genes * 2, "group": ["a"] * 120 + ["b"] * 120, "scores": np.arange(240.0)})
    assert table_of_frame(frame, where="t").background == tuple(genes)
    assert table_of_frame(frame.iloc[1:], where="t").background is None


def test_words_among_numbers_are_refused(tmp_path) -> None:
    with pytest.raises(InputError, match=r"column 'avg_log2FC' holds 'high'; wanted numbers"):
        read(tmp_path, SEURAT.replace("9.0", "high"))


@pytest.mark.parametrize(
    "text", ["[" * 200_000, "cluster,genes\nT," + "x" * 200_000, 'T\tCD3D\n"M' + "z" * 200_000]
)
def test_a_field_longer_than_any_name_is_refused(tmp_path, text: str) -> None:
    path = tmp_path / "t.txt"
    path.write_text(text)
    with pytest.raises(InputError, match=r"t\.txt: is not a table \(field larger"):
        head_of_text(path)


def test_without_measured_genes_there_is_no_fdr(tmp_path, blood_graph) -> None:
    table = read(
        tmp_path, "T: CD3D, CD3E, CD2, IL7R, LCK, TRAC\nB: CD79A, MS4A1, CD19, CD79B, BLK, BANK1\n", "t.txt"
    )
    unknown = MarkerWork(table)(as_anndata(table), blood_graph, Options())
    assert [a.label for a in unknown.annotations] == ["B cell", "T cell"]
    assert all(np.isnan(a.fdr) and NO_FDR in a.note for a in unknown.annotations)
    symbols = tuple(blood_graph.names[int(i)] for i in blood_graph.nodes_of("Gene"))
    known = MarkerWork(table, symbols)(as_anndata(table), blood_graph, Options())
    assert [a.label for a in known.annotations] == ["B cell", "T cell"]
    assert all(a.fdr <= 0.5 and NO_FDR not in a.note for a in known.annotations)
    assert known.kept["parameters"]["measured_genes"] == "--measured"


def test_names_of_columns() -> None:
    found = columns_of(["", "p_val", "avg_log2FC", "pct.1", "pct.2", "p_val_adj", "cluster", "gene"])
    assert found == {
        "gene": "gene", "cluster": "cluster", "fold": "avg_log2FC", "p": "p_val_adj", "inside": "pct.1",
        "outside": "pct.2",
    }  # fmt: skip


NAMES = {
    "gene": ("gene_symbol", "gene_name", "gene-symbol", "gene", "symbol", "feature"),
    "fold": ("log2fc", "log_fold_change", "avg_log2FC", "log2 fold change"),
    "natural fold": ("log_fc", "logfc", "avg_logFC"),
    "p": ("p_value", "pvalue", "p.value", "pval", "p_val_adj", "adj.P.Val", "padj"),
    "cluster": ("cluster", "cell type", "seurat_cluster", "cluster_id"),
}


def test_case_and_separators_of_a_column_do_not_matter() -> None:
    for meaning, name in ((meaning, name) for meaning, names in NAMES.items() for name in names):
        for form in (name, name.upper(), name.title(), name.replace("_", "."), f" {name}s"):
            assert columns_of(["", form, "n_cells"]) == {meaning: form}


LACKING = {
    "cluster,log_fc,p_value,my_gene\nT,2,0.1,CD3D\nB,2,0.1,MS4A1\n": "a column of genes, such as 'gene'",
    ",cluster,log_fc,p_value,my_gene\n1,T,2,0.1,CD3D\n2,B,2,0.1,MS4A1\n": "a column of genes, such as 'gene'",
    "cluster,p_val,pct.1,id\nT,0.1,0.5,9\n": "a column of genes, such as 'gene'",
    "g,n,cl\nCD3D,1,T\nMS4A1,2,B\n": "a column of genes, such as 'gene' and one of clusters, such as 'cluster'",
    "gene,n,cl\nCD3D,1,T\nMS4A1,2,B\n": "a column of clusters, such as 'cluster'",
}


def test_a_table_that_lacks_a_column_is_refused_with_the_columns_it_has(tmp_path, blood_graph) -> None:
    path = tmp_path / "t.csv"
    for text, lacks in LACKING.items():
        path.write_text(text)
        with pytest.raises(InputError) as refused:
            read_marker_table(path) if is_marker_table(text) else read_text_matrix(path, blood_graph)
        header = ", ".join(name for name in text.splitlines()[0].split(",") if name)
        assert str(refused.value).endswith(f"a table of markers needs {lacks}; the columns here are {header}")


def test_clusters_come_in_natural_order(tmp_path) -> None:
    rows = "".join(f"{name},CD3D,2\n" for name in ("T", "10", "2", "B", "0"))
    assert list(read(tmp_path, f"cluster,gene,log_fc\n{rows}").genes) == ["0", "2", "10", "B", "T"]
    lists = "".join(f"{name}: CD3D, CD2\n" for name in ("10", "2", "B"))
    assert list(read(tmp_path, lists, "t.txt").genes) == ["2", "10", "B"]


def test_fractions_of_clusters_that_do_not_list_a_gene_are_what_the_others_leave() -> None:
    rows = [("CD3D", "T", 0.9, 0.2), ("CD14", "M", 0.6, 0.1), ("CD14", "D", 0.5, 0.15)]
    frame = pd.DataFrame(rows, columns=["gene", "cluster", "pct.1", "pct.2"]).assign(avg_log2FC=1.0)
    fractions = table_of_frame(frame, where="t").fractions
    assert fractions is not None
    # of 3 clusters: 0.9 + 2 * 0.2 = 1.3 in all, 0.4 for two; CD14: 0.8 in all, less than the two that list it
    assert fractions.loc["CD3D", ["T", "M", "D"]].tolist() == pytest.approx([0.9, 0.2, 0.2])
    assert fractions.loc["CD14", ["T", "M", "D"]].tolist() == pytest.approx([0.0, 0.6, 0.5])
    assert table_of_frame(frame.drop(columns="pct.2"), where="t").fractions is None


def test_clusters_of_a_table_are_contrasted_and_equals_are_ordered_by_curie(blood_graph) -> None:
    rows = [("CD3E", "T", 0.9, 0.1), ("CD3D", "T", 0.9, 0.1), ("CD14", "M", 0.9, 0.1), ("LYZ", "M", 0.9, 0.1)]
    frame = pd.DataFrame(rows, columns=["gene", "cluster", "pct.1", "pct.2"]).assign(avg_log2FC=9.0)
    work = MarkerWork(table_of_frame(frame, where="t"), ("CD3D", "CD3E", "CD14", "LYZ", "MS4A1"))
    panel, _, _ = work.panel(blood_graph)
    sets = work.cell_sets(panel)
    node = dict(zip(panel.names, panel.nodes.tolist(), strict=True))
    assert all(list(one.genes) == sorted(one.genes, key=lambda gene: node[gene]) for one in sets)
    t = dict(zip(panel.names, sets[1].contrast, strict=True))
    assert t["CD3D"] == t["CD3E"] > 0 > t["CD14"] == -t["CD3D"]
    assert t["MS4A1"] == 0  # measured, in no list


SCANPY_PAIRS = """,0_n,0_p,1_n,1_p
0,IL7R,1e-30,LYZ,2e-250
1,LTB,2e-20,CD14,1e-200
2,TRAC,3e-10,S100A8,1e-190
"""


@pytest.mark.parametrize(("n", "p"), [("n", "p"), ("names", "pvals"), ("names", "pvals_adj")])
def test_names_and_p_values_of_scanpys_tutorial_are_genes_by_rank(tmp_path, n: str, p: str) -> None:
    text = SCANPY_PAIRS.replace("_n", f"_{n}").replace("_p", f"_{p}")
    assert is_marker_table(text)
    assert read(tmp_path, text).genes == {"0": ("IL7R", "LTB", "TRAC"), "1": ("LYZ", "CD14", "S100A8")}


def test_cells_with_a_column_of_words_are_no_genes_by_rank() -> None:
    """The columns of numbers must be named after clusters; those of a Seurat object's meta data are not."""
    text = ",orig.ident,nCount_RNA,classified\nA,pbmc3k,2419,T\nB,pbmc3k,4903,B\nC,pbmc3k,3147,T\n"
    assert not is_marker_table(text)


TESTED = ("p_val", "avg_log2FC", "pct.1", "pct.2", "p_val_adj")
CONSERVED = f"""{",".join(["", *(f"{c}_{m}" for c in ("CTRL", "STIM") for m in TESTED), "max_pval", "minimump_p_val"])}
"CD79A",1e-90,4.0,0.9,0.1,1e-86,1e-80,3.0,0.8,0.1,1e-76,1e-80,1e-90
"MS4A1",1e-90,5.0,0.9,0.1,1e-86,1e-80,1.0,0.9,0.1,1e-76,1e-80,1e-90
"CD3D",1e-90,5.0,0.9,0.1,1e-86,1e-80,-1.0,0.1,0.5,1e-76,1e-80,1e-90
"""


def test_conserved_markers_count_as_in_the_condition_where_they_count_least(tmp_path) -> None:
    assert is_marker_table(CONSERVED)
    table = read(tmp_path, CONSERVED)
    assert table.form == "Seurat FindConservedMarkers (the least of CTRL, STIM)"
    assert table.genes == {"0": ("CD79A", "MS4A1")}
    assert table.strengths["0"] == pytest.approx((3.0 * 0.8, 1.0 * 0.9))
    header, *rows = CONSERVED.splitlines()
    stacked = "\n".join([f'{header},"cluster_id","gene"', *(f"{row},B,{row.split(',')[0]}" for row in rows)])
    assert read(tmp_path, stacked.replace('"CD79A",1e', '"1",1e')).genes == {"B": ("CD79A", "MS4A1")}


def test_numbers_with_decimal_commas_are_read(tmp_path, blood_graph) -> None:
    text = SEURAT.replace(",", ";").replace(".0", ",0").replace("0.", "0,")
    assert writes_decimal_commas(text)
    assert read(tmp_path, text).strengths == read(tmp_path, SEURAT).strengths
    (tmp_path / "m.csv").write_text("gene;a;b\nCD3D;0,5;1\nCD79A;2;0,25\n")
    assert read_text_matrix(tmp_path / "m.csv", blood_graph).to_df().to_numpy().tolist() == [
        [0.5, 2],
        [1, 0.25],
    ]


@pytest.mark.parametrize("text", ["a;b\nCD3D;1,234", "a;b\nCD3D;0.5", "a,b\nCD3D,5", 'a;b\nT;"CD3D,CD3E"'])
def test_thousands_points_and_lists_are_no_decimal_commas(text: str) -> None:
    assert not writes_decimal_commas(text)


def test_columns_of_a_test_are_no_matrix(tmp_path, blood_graph) -> None:
    (tmp_path / "t.csv").write_text(",p_val,pct.1,pct.2\nCD3D,0.1,0.5,0.2\nCD79A,0.2,0.5,0.1\n")
    with pytest.raises(InputError, match=r"columns such as p_val, .* are of a test of markers"):
        read_text_matrix(tmp_path / "t.csv", blood_graph)


@pytest.mark.parametrize("ending", ["xls", "ods"])
def test_a_workbook_of_another_kind_is_refused_with_what_to_do(tmp_path, ending: str) -> None:
    (tmp_path / f"markers.{ending}").write_bytes(b"PK\x03\x04")
    with pytest.raises(InputError, match="is a workbook of a kind that is not read; save it as xlsx or csv"):
        kind_of(tmp_path / f"markers.{ending}")


def test_the_first_sheet_of_a_workbook_is_read_as_its_csv_is(tmp_path, blood_graph) -> None:
    frame, book = pd.read_csv(StringIO(SEURAT)), tmp_path / "markers.xlsx"
    with pd.ExcelWriter(book) as file:
        frame.to_excel(file, sheet_name="markers", index=False)
        pd.DataFrame({"note": ["other"]}).to_excel(file, sheet_name="notes", index=False)
    assert kind_of(book) == "marker table"
    assert stem_of(book) == "markers"
    found, wanted = read_marker_table(book), read(tmp_path, SEURAT)
    assert (found.genes, found.strengths, found.form) == (wanted.genes, wanted.strengths, wanted.form)
    pd.DataFrame({"a": [0.5, 2], "b": [1, 0.25]}, index=["CD3D", "CD79A"]).to_excel(tmp_path / "m.xlsx")
    assert read_text_matrix(tmp_path / "m.xlsx", blood_graph).to_df().to_numpy().tolist() == [
        [0.5, 2],
        [1, 0.25],
    ]


def test_dates_of_a_workbook_are_told_as_dates_and_a_damaged_one_is_refused(tmp_path) -> None:
    genes = ["CD3D", pd.Timestamp("2024-09-02")]
    pd.DataFrame({"gene": genes, "cluster": 0}).to_excel(tmp_path / "t.xlsx", index=False)
    assert read_marker_table(tmp_path / "t.xlsx").genes == {"0": ("CD3D", "2-Sep")}
    (tmp_path / "cut.xlsx").write_bytes((tmp_path / "t.xlsx").read_bytes()[:2000])
    with pytest.raises(InputError, match=r"cut\.xlsx: cannot be read as a workbook"):
        kind_of(tmp_path / "cut.xlsx")


def of_table(graph, rows):
    """The answers to a table of gene, cluster and the two fractions."""
    frame = pd.DataFrame(rows, columns=["gene", "cluster", "pct.1", "pct.2"]).assign(avg_log2FC=2.0)
    frame.loc[frame["pct.1"] < frame["pct.2"], "avg_log2FC"] = -2.0
    work = MarkerWork(table_of_frame(frame, where="t"))
    return {a.cell_set: a for a in work(as_anndata(work.table), graph, Options()).annotations}


@pytest.mark.xdist_group("core-graph")
def test_markers_that_a_table_says_are_absent_speak_against_the_answer(core_graph) -> None:
    """T cell genes without CD3D and CD3E, which another cluster has; without such a cluster they are just rare."""
    own = [(g, "a", 0.8, 0.1) for g in ("CD3G", "CD2", "TRAC", "TRBC1", "CD5", "IL7R", "CD6", "LCK")]
    absent = [("CD3D", "a", 0.01, 0.9), ("CD3E", "a", 0.0, 0.9)]
    other = [
        ("CD3D", "b", 0.9, 0.01),
        ("CD3E", "b", 0.9, 0.0),
        ("MS4A1", "b", 0.9, 0.0),
        ("LYZ", "b", 0.9, 0.0),
    ]
    found = of_table(core_graph, [*own, *absent, *other])["a"]
    against = {c.symbol: c.fraction_in_set for c in found.contradictions}
    assert found.curie
    assert against["CD3D"] == pytest.approx(0.01)
    rare = [(g, c, inside, min(outside, 0.02)) for g, c, inside, outside in absent]
    assert not of_table(core_graph, [*own, *rare, *other[2:]])["a"].contradictions


@pytest.mark.xdist_group("core-graph")
def test_a_short_list_of_two_cell_types_is_asked_about(tmp_path, core_graph) -> None:
    table = read(
        tmp_path, 'cluster,genes\nmixed,"CD3D, CD3E, TRAC, COL1A1, DCN, LUM"\nT,"CD3D, CD3E, TRAC"\n'
    )
    found = MarkerWork(table)(as_anndata(table), core_graph, Options()).annotations
    notes = {answer.cell_set: answer.note for answer in found}
    asked = next(part for part in notes["mixed"].split("; ") if part.startswith("two cell types? "))
    assert "CD3D, CD3E, TRAC: T cell" in asked
    assert "COL1A1, DCN, LUM: fibroblast" in asked
    assert "two cell types" not in notes["T"]


def test_clusters_are_not_pooled_where_their_column_is_not_told(tmp_path) -> None:
    table = tmp_path / "t.csv"
    table.write_text("gene,avg_log2FC,my_cluster,n\nCD3D,2,one,1\nMS4A1,2,two,2\nCD3D,1,two,3\n")
    with pytest.raises(InputError, match=r"by --groupby my_cluster$"):
        read_marker_table(table)
    assert len(read_marker_table(table, "my_cluster").genes) == 2
    with pytest.raises(InputError, match="a column of genes or of measurements"):
        read_marker_table(table, "avg_log2FC")
    table.write_text("gene,avg_log2FC,my_cluster,n\nCD3D,2,1,1\nMS4A1,2,0,2\nCD2,1,0,3\n")
    assert "are clusters in my_cluster?" in read_marker_table(table).form


def test_a_cluster_without_genes_is_named_and_a_table_without_rows_refused(tmp_path, blood_graph) -> None:
    table = read(tmp_path, 'cluster,genes\nT,"CD3D, IL7R"\nX,""\n')
    assert list(table.genes) == ["T"]
    assert table.form.endswith("(left out, without genes: X)")
    with pytest.raises(InputError, match="has names of columns and no rows"):
        read(tmp_path, "gene,cluster,avg_log2FC\n")
