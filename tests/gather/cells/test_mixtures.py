"""Doublets: two unrelated lineages in the same cells, and no genes of their own."""

from dataclasses import replace

import numpy as np
import pytest

import gather
from gather.annotation import Annotation, Candidate, Contradiction
from gather.cells.mixtures import RISE, Profile, kin, with_mixtures
from gather.ontology import Ontology

LINEAGES = [("T", "CL:1"), ("B", "CL:2"), ("NK and innate lymphoid", "CL:3")]


def ontology():
    child, parent = np.array([1, 2, 3], np.int32), np.zeros(3, np.int32)
    return Ontology(
        [f"CL:{i}" for i in range(4)], child, parent, names=["cell", "T", "B", "NK"], lineages=LINEAGES
    )


def file_of(third, *, second="CL:2", seed=0):
    """Cells of three sets with 60 genes: T has the first 20, the second set the next 20, the third what is asked."""
    rng = np.random.default_rng(seed)
    levels = {"t": [1, 0, 0], "b": [0, 1, 0]} | {"x": third}
    cells, groups = [], []
    for name, level in levels.items():
        for _ in range(60):
            mean = np.repeat(level if not callable(level) else level(rng), 20) * 2.0
            cells.append(rng.poisson(mean + 0.05))
            groups.append(name)
    answers = [
        Annotation(
            name, 60, "named", label, curie, 0.9, 1e-6,
            contradictions=(Contradiction(curie, "HGNC:1", "CD3D", "expected_absent", 0.0, 0.5, ()),),
        )
        for name, label, curie in (("t", "T", "CL:1"), ("b", "second", second), ("x", "T", "CL:1"))
    ]  # fmt: skip
    return with_mixtures(answers, np.log1p(np.array(cells, float)), np.array(groups, object), ontology())


def test_cells_with_the_genes_of_both_are_mixed_and_both_names_and_the_share_are_given():
    *pure, mixed = file_of([1, 1, 0])
    assert [a.status for a in pure] == ["named", "named"]
    assert (mixed.status, mixed.label, mixed.curie, mixed.confidence) == ("mixed", "unknown", "", 0.0)
    assert mixed.reason == "two_lineages"
    assert all(a.contradictions for a in pure)
    assert not mixed.contradictions
    assert set(mixed.mixture.labels) == {"T", "second"}
    assert set(mixed.mixture.curies) == {"CL:1", "CL:2"}
    assert mixed.mixture.share > 0.9 > 0.5 > mixed.mixture.expected


@pytest.mark.parametrize(
    ("third", "second"),
    [
        ([1, 0, 0], "CL:2"),  # T again
        ([1, 1, 1], "CL:2"),  # with genes of its own: a third type
        (lambda rng: [1, 0, 0] if rng.random() < 0.5 else [0, 1, 0], "CL:2"),  # two kinds of cells in one set
        ([1, 1, 0], "CL:3"),  # T and NK are kin
    ],
)
def test_what_is_no_doublet_keeps_its_name(third, second):
    assert [a.status for a in file_of(third, second=second)] == ["named"] * 3


def test_sets_of_few_cells_explain_a_mixture_together_and_are_answered_themselves():
    rng = np.random.default_rng(0)
    sets = {"t": (60, [1, 0]), "b1": (6, [0, 1]), "b2": (6, [0, 1]), "x": (60, [1, 1])}
    groups = np.repeat(list(sets), [n for n, _ in sets.values()]).astype(object)
    means = np.array([np.repeat(sets[g][1], 20) * 2.0 + 0.05 for g in groups])
    answers = [
        Annotation("t", 60, "named", "T", "CL:1", 0.9, 1e-6),
        Annotation("x", 60, "named", "T", "CL:1", 0.9, 1e-6),
    ]
    for name in ("b1", "b2"):
        best = Candidate(1, "CL:2", "B", 1.0, 1e-6, 1e-5, 0.5, 9)
        answers.append(Annotation(name, 6, "unknown", "unknown", "", 0.0, 1e-5, candidates=(best,)))
    found = with_mixtures(answers, np.log1p(rng.poisson(means).astype(float)), groups, ontology())
    assert [(a.cell_set, a.status) for a in found] == [
        ("t", "named"), ("x", "mixed"), ("b1", "unknown"), ("b2", "unknown"),
    ]  # fmt: skip
    assert set(found[1].mixture.labels) == {"T", "B"}


def test_a_doublet_has_no_gene_beyond_both_although_mean_logarithms_say_so():
    """A gene that each type has in few cells is in more doublets: its mean logarithm rises, its mean does not."""
    rng = np.random.default_rng(1)
    one, other = (rng.binomial(1, 0.3, (400, 50)) * 50.0 for _ in range(2))
    both = (one + other) / 2
    a, b, third = (Profile.of(np.log1p(x)) for x in (one, other, both))
    assert (third.mean > np.maximum(a.mean, b.mean) + RISE).mean() > 0.5
    assert not (third.beyond(a) & third.beyond(b)).any()


def test_kin_is_symmetric_and_precursors_are_kin_of_all():
    assert kin("T", "NK and innate lymphoid")
    assert kin("NK and innate lymphoid", "T")
    assert kin("B", "hematopoietic stem and progenitor")
    assert not kin("T", "B")


@pytest.mark.data
def test_real_doublets_of_b_cells_and_monocytes_are_mixed(core_graph, mirror):
    """Sums of a B cell and a monocyte as one more set of real blood; the other sets stay what they are."""
    import anndata as ad

    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc68k_reduced.h5ad")
    values = np.expm1(cells.raw.X.toarray())
    labels = cells.obs["bulk_labels"].astype(str).to_numpy()
    rng = np.random.default_rng(0)
    first, second = (rng.choice(np.flatnonzero(labels == x), 40) for x in ("CD19+ B", "CD14+ Monocyte"))
    both = np.log1p(np.concatenate([values, (values[first] + values[second]) / 2]))
    groups = [*labels, *["doublets"] * 40]
    data = ad.AnnData(both.astype(np.float32), obs={"group": groups}, var=cells.raw.var[[]].copy())
    gather.annotate(data, "group", graph=core_graph)
    of_set = data.obs.groupby("group")[["gather_status", "gather_mixture"]].first()
    assert of_set.loc["doublets", "gather_status"] == "mixed"
    assert "B cell" in of_set.loc["doublets", "gather_mixture"]
    assert (of_set.drop("doublets")["gather_status"] == "mixed").sum() <= 1


@pytest.mark.data
def test_real_doublets_of_a_type_without_an_answer_are_mixed(core_graph, mirror):
    """The B cells of real blood are not answered, as with a threshold that none passes; their doublets are found."""
    import anndata as ad

    from gather.cells.expression import rank_cell_sets, read_expression
    from gather.labelling.annotator import Annotator, Parameters

    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc68k_reduced.h5ad")
    values = np.expm1(cells.raw.X.toarray())
    labels = cells.obs["bulk_labels"].astype(str).to_numpy()
    rng = np.random.default_rng(0)
    first, second = (rng.choice(np.flatnonzero(labels == x), 40) for x in ("CD19+ B", "CD14+ Monocyte"))
    both = np.log1p(np.concatenate([values, (values[first] + values[second]) / 2])).astype(np.float32)
    groups = np.array([*labels, *["doublets"] * 40], dtype=object)
    expression = read_expression(ad.AnnData(both, var=cells.raw.var[[]].copy()), core_graph)
    annotator = Annotator(core_graph, expression.panel, Parameters(hyper_entities=(), evidence=0))
    answers = annotator.annotate(rank_cell_sets(expression, groups.tolist()))
    answers = [
        replace(a, status="unknown", label="unknown", curie="") if a.cell_set == "CD19+ B" else a
        for a in answers
    ]
    found = {a.cell_set: a for a in with_mixtures(answers, expression.matrix, groups, annotator.ontology)}
    assert found["doublets"].status == "mixed"
    assert any("B" in label for label in found["doublets"].mixture.labels)
    assert found["CD19+ B"].status == "unknown"


@pytest.mark.data
def test_stimulated_cells_are_no_mixture_of_resting_ones_and_stimulated_others(core_graph, mirror):
    """Stimulated B cells express what resting B cells have and the interferon genes of stimulated monocytes."""
    import anndata as ad

    cells = ad.read_h5ad(mirror / "h5ad" / "pbmc_kang18_ifnb_muscat.h5ad")
    cells.obs["group"] = cells.obs["cluster_id"].astype(str) + " " + cells.obs["group_id"].astype(str)
    gather.annotate(cells, "group", graph=core_graph)
    assert cells.obs["group"].nunique() >= 10
    assert not (cells.obs["gather_status"] == "mixed").any()


def test_a_set_without_an_answer_explains_a_mixture_where_its_first_candidates_share_a_lineage():
    def of(first: list[str]) -> list[str]:
        sets = {"t": [1, 0], "b": [0, 1], "x": [1, 1]}
        rng, groups = np.random.default_rng(0), np.repeat(list(sets), 60).astype(object)
        means = np.array([np.repeat(sets[g], 20) * 2.0 + 0.05 for g in groups])
        names = {"CL:1": "T", "CL:2": "B", "CL:3": "NK"}
        candidates = tuple(
            Candidate(i, c, names[c], 1.0, 1e-6, 1e-6, 0.5, 5) for i, c in enumerate(first, start=1)
        )
        answers = [
            Annotation("t", 60, "named", "T", "CL:1", 0.9, 1e-6),
            Annotation("b", 60, "unknown", "unknown", "", 0.0, 1e-6, candidates),
            Annotation("x", 60, "named", "T", "CL:1", 0.9, 1e-6),
        ]
        found = with_mixtures(answers, np.log1p(rng.poisson(means).astype(float)), groups, ontology())
        assert (found[1].status, found[1].curie) == ("unknown", "")
        return [a.status for a in found] + [*(found[2].mixture.labels if found[2].mixture else ())]

    assert of(["CL:2"] * 3) == ["named", "unknown", "mixed", "T", "B"]
    assert of(["CL:2", "CL:2", "CL:3"]) == ["named", "unknown", "named"]
    assert of(["CL:2"] * 2) == ["named", "unknown", "named"]
