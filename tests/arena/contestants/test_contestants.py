"""Who may answer, and what baselines answer: leave-one-out against its slow definition, and the published anchors."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from arena.contestants import gather as retrieval
from arena.contestants.baselines import BASELINES, Markers, Peers, reply
from arena.contestants.resolve import providers, resolve
from arena.datasets import make_cells, scarena
from arena.datasets.virtual_cell import Interaction, VirtualCell
from arena.tasks import TASKS, read_reply
from arena.tasks.samples import make_samples, view_all
from arena.types import Sample
from tests.arena.toy import FRESH_REGULONS, scarena_files
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

# ---- names ------------------------------------------------------------------------------------------------------


def test_what_a_model_argument_means() -> None:
    assert resolve("gather").model == "arena/gather"
    assert resolve("gene-prior").tasks == ("perturbation",)
    assert resolve("openai/gpt-4o-mini").model == "openai/gpt-4o-mini"
    assert resolve("my/model", base_url="http://127.0.0.1:1/v1").model == "endpoint/my/model"
    with_evidence = resolve("gather+openai/gpt-4o-mini")
    assert (with_evidence.model, with_evidence.evidence) == ("openai/gpt-4o-mini", True)
    assert resolve("hf/vandijklab/C2S-Pythia-410m-cell-type-prediction").kind == "model"


def test_who_reads_the_graph_does_so_under_any_name() -> None:
    specs = ("gather", "marker-overlap", "majority", "gold", "gather+ollama/x", "tools+ollama/x", "ollama/x")
    reads = {spec: resolve(spec, name="mine").reads_graph for spec in specs}
    assert [spec for spec in specs if reads[spec]] == [
        "gather",
        "marker-overlap",
        "gather+ollama/x",
        "tools+ollama/x",
    ]
    assert not resolve("majority", name="marker-overlap").reads_graph


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("marjority", r"no contestant 'marjority' \(did you mean 'majority'\?\)"),
        ("opanai/gpt-4o", r"no model provider 'opanai' \(did you mean 'openai'\?\)"),
        ("gpt-4o", "a model is PROVIDER/NAME"),
        ("gather+", "names no model"),
        ("replay:/nowhere.jsonl", "no file of answers"),
    ],
)
def test_an_unknown_contestant_is_named_with_the_nearest(spec: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        resolve(spec)


def test_a_provider_that_a_package_registers_is_a_model() -> None:
    from inspect_ai.model import modelapi

    with pytest.raises(
        InputError, match=r"no model provider 'toyprovider'.*known: .*mistral, .*ollama, openai, "
    ):
        resolve("toyprovider/m")
    modelapi(name="toyprovider")(lambda: None)
    assert resolve("toyprovider/m").model == "toyprovider/m"
    assert not {"arena", "endpoint"} & set(providers())


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1/v1", "http://127.0.0.1/v1?key=secret"])
def test_a_url_with_a_secret_in_it_is_refused_without_printing_it(url: str) -> None:
    with pytest.raises(InputError, match="OPENAI_API_KEY") as caught:
        resolve("toy", base_url=url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("host", ["127.0.0.1:99999", "127.0.0.1:abc", "127.0.0.1:0", "[::1", ":80"])
def test_a_url_without_a_host_or_a_port_is_refused_without_a_secret(host: str) -> None:
    with pytest.raises(InputError, match="wanted http://HOST:PORT/v1") as caught:
        resolve("toy", base_url=f"http://user:secret@{host}/v1?key=secret")
    assert "secret" not in str(caught.value)


def test_a_name_becomes_a_folder_s_without_a_path() -> None:
    assert resolve("../../etc/passwd", base_url="http://127.0.0.1:1/v1").slug == "etc-passwd"


# ---- baselines ----------------------------------------------------------------------------------------------------


def _screen(seed: int, n: int = 9) -> dict[str, Sample]:
    """Rows with random genes and directions, some genes shared between rows."""
    rng = np.random.default_rng(seed)
    cells = []
    for i in range(n):
        genes = [f"G{g}" for g in rng.permutation(14)[:6]]
        up = int(rng.integers(1, 6))
        cells.append(
            VirtualCell(
                f"c{i}", "toy", interactions=(Interaction(("X",), "a", tuple(genes[:up]), tuple(genes[up:])),)
            )
        )
    return {s.id: s for s in view_all(cells, "perturbation", seed=seed)}


def _no_markers() -> Mapping[str, Markers]:
    return {}


def _directions(name: str, samples: Mapping[str, Sample]) -> dict[tuple[str, str], int]:
    peers = Peers(samples, _no_markers)
    found = {}
    for sample in samples.values():
        parsed, _ = read_reply("perturbation", reply(name, sample, peers))
        assert parsed is not None
        found |= {(sample.id, g): 1 for g in parsed["up"]} | {(sample.id, g): -1 for g in parsed["down"]}
    return found


@pytest.mark.parametrize("seed", range(8))
def test_the_gene_prior_is_the_majority_of_the_other_samples_and_silent_on_ties(seed: int) -> None:
    samples = _screen(seed)
    expected = {}
    for sample in samples.values():
        for gene in sample.fields["candidates"]:
            votes = [
                (gene in other.gold["up"]) - (gene in other.gold["down"])
                for other in samples.values()
                if other is not sample
            ]
            if sum(votes):
                expected[sample.id, gene] = 1 if sum(votes) > 0 else -1
    assert _directions("gene-prior", samples) == expected


@pytest.mark.parametrize("seed", range(8))
def test_the_position_prior_is_the_majority_at_the_same_place_of_the_other_samples(seed: int) -> None:
    samples = _screen(seed)
    expected = {}
    for sample in samples.values():
        for at, gene in enumerate(sample.fields["candidates"]):
            votes = [
                1 if other.fields["candidates"][at] in other.gold["up"] else -1
                for other in samples.values()
                if other is not sample
            ]
            expected[sample.id, gene] = 1 if sum(votes) >= 0 else -1
    assert _directions("position", samples) == expected


@pytest.fixture(scope="module")
def screens(mirror: Path, fresh_graph: Graph) -> dict[str, dict[str, Sample]]:
    files = scarena_files(mirror)
    return {
        form: {
            s.id: s
            for s in view_all(
                scarena.read_cells(files, fresh_graph, compat=form == "untouched"), "perturbation", seed=0
            )
        }
        for form in ("untouched", "repaired")
    }


def _accuracy(name: str, samples: Mapping[str, Sample]) -> float:
    """Share of all candidates that are called as they go; one that is not called is wrong."""
    called = _directions(name, samples)
    truth = {(s.id, g): 1 for s in samples.values() for g in s.gold["up"]}
    truth |= {(s.id, g): -1 for s in samples.values() for g in s.gold["down"]}
    return sum(called.get(key) == value for key, value in truth.items()) / len(truth)


def test_the_per_gene_prior_reproduces_0786(screens: dict[str, dict[str, Sample]]) -> None:
    assert _accuracy("gene-prior", screens["untouched"]) == pytest.approx(0.786, abs=0.005)
    assert _accuracy("gene-prior", screens["repaired"]) == pytest.approx(0.786, abs=0.005)


def test_the_place_in_the_list_gives_0861_away_untouched_and_nothing_repaired(
    screens: dict[str, dict[str, Sample]],
) -> None:
    assert _accuracy("position", screens["untouched"]) == pytest.approx(0.861, abs=0.001)
    assert _accuracy("position", screens["repaired"]) <= 0.55


def test_always_up_and_the_better_of_both_reproduce_0484_and_0639(
    screens: dict[str, dict[str, Sample]],
) -> None:
    counts = [(len(s.gold["up"]), len(s.gold["down"])) for s in screens["repaired"].values()]
    assert sum(up for up, _ in counts) / sum(map(sum, counts)) == pytest.approx(0.484, abs=0.001)
    assert sum(map(max, counts)) / sum(map(sum, counts)) == pytest.approx(0.639, abs=0.001)


def test_copying_the_control_has_a_jaccard_of_0811(screens: dict[str, dict[str, Sample]]) -> None:
    samples = screens["repaired"]
    peers = Peers(samples, _no_markers)
    overlap = []
    for sample in samples.values():
        parsed, _ = read_reply("perturbation", reply("copy-control", sample, peers))
        assert parsed is not None
        copied, real = set(parsed["sentence"]), set(sample.gold["sentence"])
        overlap.append(len(copied & real) / len(copied | real))
    assert np.mean(overlap) == pytest.approx(0.811, abs=0.001)


def _typed(n: int) -> dict[str, Sample]:
    types = ["T cell", "T cell", "B cell", "monocyte", "monocyte", "monocyte"]
    cells = [
        VirtualCell(
            f"c{i}",
            "toy",
            cell_type=types[i % 6],
            cl_id=f"CL:{i % 6}",
            expression=("A", "B"),
            description="d",
        )
        for i in range(n)
    ]
    return {s.id: s for s in view_all(cells, "annotation", seed=0)}


def test_the_majority_leaves_the_asked_sample_out() -> None:
    samples = _typed(6)
    peers = Peers(samples, _no_markers)
    said = {
        s.gold["cell_type"]: read_reply("annotation", reply("majority", s, peers))[0]
        for s in samples.values()
    }
    assert said["B cell"] == {"cell_type": "monocyte"}
    assert said["monocyte"] == {"cell_type": "T cell"}  # two and two are left: the first by name


def test_random_genes_are_drawn_from_the_other_samples(fresh_graph: Graph) -> None:
    """With few samples a pool that held the asked one's own markers would hand out the answer."""
    cells = make_cells("fresh", fresh_graph, seed=0)[1]
    samples = {s.id: s for s in view_all(cells, "generation", seed=0)}
    peers = Peers(samples, _no_markers)
    for sample in samples.values():
        others = {g for s in samples.values() if s is not sample for g in s.gold["markers"]}
        answer, _ = read_reply("generation", reply("random", sample, peers))
        assert set((answer or {"genes": []})["genes"]) <= others


def test_a_lone_sample_leaves_the_majority_nothing_to_say() -> None:
    samples = _typed(1)
    (sample,) = samples.values()
    assert reply("majority", sample, Peers(samples, _no_markers)) == ""


def test_marker_overlap_is_the_cosine_of_gene_sets() -> None:
    table = {
        "CL:1": Markers("CL:1", "narrow", "", ("A", "X")),
        "CL:2": Markers("CL:2", "wide", "", ("A", "B", *(f"N{i}" for i in range(20)))),
        "CL:3": Markers("CL:3", "none", "", ("Z",)),
    }
    samples = _typed(1)
    (sample,) = samples.values()
    parsed, _ = read_reply("annotation", reply("marker-overlap", sample, Peers(samples, lambda: table)))
    assert parsed == {"cell_type": "narrow"}  # 1/sqrt(2*2) beats 2/sqrt(22*2)
    mouse = replace(sample, fields=sample.fields | {"genes": ["a", "b"]})
    assert (
        read_reply("annotation", reply("marker-overlap", mouse, Peers(samples, lambda: table)))[0] == parsed
    )


def test_the_majority_answers_the_only_question_of_its_kind_by_another(fresh_graph: Graph) -> None:
    (one,) = make_samples(make_cells("fresh", fresh_graph, seed=0)[1], ("qa",), seed=0, limit=1)["qa"]
    other = replace(one, id="other", fields=one.fields | {"kind": "another"})
    said = reply("majority", one, Peers({one.id: one, other.id: other}, _no_markers))
    assert read_reply("qa", said)[0] == {"answer": other.gold["answer"]}


@pytest.mark.parametrize("name", BASELINES)
def test_every_baseline_answers_the_same_each_time_and_in_the_format(name: str, fresh_graph: Graph) -> None:
    cells = make_cells("fresh", fresh_graph, seed=0)[1]
    made = make_samples(cells, BASELINES[name].tasks, seed=0, limit=None)
    said = Counter()
    for task, samples in made.items():
        for _ in range(2):
            peers = Peers({s.id: s for s in samples}, lambda: retrieval.markers_by_type(fresh_graph))
            for sample in samples:
                text = reply(name, sample, peers)
                said[sample.id, text] += 1
                assert text == "" or read_reply(task, text)[0] is not None, text
    assert set(said.values()) <= {2}


def test_gold_answers_are_the_gold(fresh_graph: Graph) -> None:
    made = make_samples(make_cells("fresh", fresh_graph, seed=0)[1], TASKS, seed=0, limit=5)
    for task, samples in made.items():
        peers = Peers({s.id: s for s in samples}, _no_markers)
        for sample in samples:
            parsed, _ = read_reply(task, reply("gold", sample, peers))
            assert parsed is not None
            for key in set(parsed) & set(sample.gold):
                assert parsed[key] == sample.gold[key]


# ---- retrieval ----------------------------------------------------------------------------------------------------


def _fresh(task: str, graph: Graph) -> list[Sample]:
    return make_samples(make_cells("fresh", graph, seed=0)[1], [task], seed=0, limit=None)[task]


def test_retrieval_follows_the_signed_edges(fresh_graph: Graph) -> None:
    targets = {"GATA1": FRESH_REGULONS["GATA1"], "MYC": FRESH_REGULONS["MYC"]}
    cells = [
        VirtualCell(
            id=name, dataset="t", interactions=(Interaction((name,), "activation", tuple(up), tuple(down)),)
        )
        for name, (up, down) in targets.items()
    ]
    for sample in view_all(cells, "perturbation", seed=0):
        parsed, _ = read_reply("perturbation", retrieval.answer_by_retrieval(sample, fresh_graph))
        assert parsed is not None
        assert set(parsed["up"]) == set(sample.gold["up"])
        assert set(parsed["down"]) == set(sample.gold["down"])


def test_retrieval_names_what_each_half_of_a_question_singles_out(fresh_graph: Graph) -> None:
    asked = _fresh("qa", fresh_graph)
    right = []
    for sample in asked:
        parsed, _ = read_reply("qa", retrieval.answer_by_retrieval(sample, fresh_graph))
        assert parsed is not None
        right += [f"{claim}." in parsed["answer"] for claim in sample.gold["claims"]]
    assert len(right) == 2 * len(asked)
    assert np.mean(right) > 0.9


def test_retrieval_of_a_cell_rests_on_its_own_sample_and_species(fresh_graph: Graph) -> None:
    from dataclasses import replace

    for sample in _fresh("annotation", fresh_graph)[:3]:
        said = retrieval.answer_by_retrieval(sample, fresh_graph)
        fish = replace(sample, fields={**sample.fields, "species": "zebrafish"})
        assert read_reply("annotation", retrieval.answer_by_retrieval(fish, fresh_graph))[0] is not None
        retrieval.annotation_of.cache_clear()
        assert retrieval.answer_by_retrieval(sample, fresh_graph) == said


def test_retrieval_does_not_read_the_gold(fresh_graph: Graph) -> None:
    from dataclasses import replace

    for task in ("generation", "perturbation", "qa"):
        for sample in _fresh(task, fresh_graph):
            blind = replace(sample, gold={})
            assert retrieval.answer_by_retrieval(blind, fresh_graph) == retrieval.answer_by_retrieval(
                sample, fresh_graph
            )


def test_the_genes_handed_to_a_model_are_not_cut_short(fresh_graph: Graph) -> None:
    sample = _fresh("generation", fresh_graph)[0]
    line = retrieval.evidence_for(sample, fresh_graph)
    listed = line.partition(": ")[2].partition(" (graph)")[0].split()
    assert "…" not in line
    answer = retrieval.answer_by_retrieval(sample, fresh_graph)
    assert all(gene in answer for gene in listed)


def test_evidence_lines_carry_source_and_publication_and_no_control_characters(fresh_graph: Graph) -> None:
    text = retrieval.evidence_for(_fresh("qa", fresh_graph)[0], fresh_graph)
    assert "PMID:" in text
    assert all(line.startswith("- ") for line in text.splitlines())
    assert "<" not in text


def test_retrieval_that_finds_nothing_abstains_in_the_format(fresh_graph: Graph) -> None:
    cell = VirtualCell("c", "toy", cell_type="T cell", expression=("NOGENE1", "NOGENE2"), description="d")
    for task in ("annotation", "captioning"):
        (sample,) = view_all([cell], task, seed=0)
        parsed, refused = read_reply(task, retrieval.answer_by_retrieval(sample, fresh_graph))
        assert parsed is not None
        assert "unknown" in next(iter(parsed.values()))
        assert not refused
