"""SC-Arena's own words and scores: against its evaluators where a checkout is given, on made-up files always."""

import asyncio
import json
import math
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from arena.datasets import scarena
from arena.judging.llm_judge import judge
from arena.official import Official, official_score
from arena.tasks import TASKS as FIVE
from arena.tasks import render
from arena.tasks.samples import make_samples
from arena.types import Answer, Reply, Sample
from tests.arena import official_side
from vckg.base.errors import InputError
from vckg.graph.graph import Graph

MOST = 200
"""Answers of each task."""


@pytest.mark.parametrize(
    ("reply", "score"),
    [
        ("Good. [Score: 4]", 0.8),
        ("[Score:3] and later [Score: 5]", 0.6),  # the first counts
        ("[Score: 0]", 0.0),
        ("[Score: 4.5]", 0.0),  # no whole number
        ("[Score: -1]", 0.0),
        ("four of five", 0.0),
        ("", 0.0),
        ("[Score: 9]", 1.0),  # 1.8 there
    ],
)
def test_a_judges_reply_counts_as_in_the_public_code(reply: str, score: float) -> None:
    assert official_score(reply) == pytest.approx(score, abs=1e-12)


EVALUATOR = '''
class Cells:
    def get_cell_paths_str(self, cell_name):
        if not 1:
            return f"nothing on {cell_name}"
        output.write(f"{term_idx}: {term.id} {term.name}\\n")
        output.write(f"way {i}\\n")
        output.write(f"{indent}{node.id} {node.name}\\n")

    def llm_eval(self, predicted_cell_type, true_cell_type):
        message_template = """Is 100%% of %s (%s) said by %s?"""
        first = {"role": "system", "content": "Be fair."}
        ask(first, message_template % (true_cell_type,cell_path_chain,predicted_cell_type))
'''
ONTOLOGY = """format-version: 1.2

[Term]
id: CL:0000000
name: cell

[Term]
id: CL:0000542
name: lymphocyte
def: "A \\"small\\" cell." [X:1]
is_a: CL:0000000 ! cell
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    (tmp_path / "prompts").mkdir()
    (tmp_path / "evaluators").mkdir()
    words = {"prompt": "{num_genes} genes of a {organism} cell: {cell_sentence}"}
    (tmp_path / "prompts" / "cell_type_annotation.jsonl").write_text(json.dumps(words))
    (tmp_path / "evaluators" / "cell_type_annotation.py").write_text(EVALUATOR)
    (tmp_path / "evaluators" / "cl_nl6.obo").write_text(ONTOLOGY)
    return tmp_path


SAMPLE = Sample(
    "sc-arena-compat/annotation/CL:0000542",
    "annotation",
    {"sentence": "CD3D CD2", "n_genes": "2", "context": "a lung cell"},
    {"cell_type": "lymphocyte", "cl_id": "CL:0000542"},
    {"genes": ["CD3D", "CD2"], "tissue": "lung", "species": ""},
    "c",
    {},
    {},
)


def test_the_words_are_read_from_the_checkout_and_filled(checkout: Path) -> None:
    words = Official(checkout)
    (asked,) = words.asking({"annotation": [SAMPLE]})["annotation"]
    assert render(asked) == "2 genes of a lung cell: CD3D CD2"
    found = words.asked(SAMPLE, "Maybe [Predicted_Cell_Type: T cell], no: [Predicted_Cell_Type: B cell]")
    assert found is not None
    assert found.system == "Be fair."
    paths = "1: CL:0000542 lymphocyte\nway 1\nCL:0000000 cell\n  CL:0000542 lymphocyte\n"
    assert found.prompt == f"Is 100% of lymphocyte ({paths}) said by T cell?"


@pytest.mark.parametrize(
    ("text", "error", "said", "value", "calls"),
    [
        ("[Predicted_Cell_Type: LYMPHOCYTE]", "", "[Score: 1]", 1.0, 0),  # its own name needs no judge
        ("no form at all", "", "[Score: 2]", 0.4, 1),
        ("[Predicted_Cell_Type: B cell]", "", "silence", 0.0, 1),
        ("", "gone", "[Score: 5]", None, 0),
    ],
)
def test_an_answer_is_rated_once_by_its_rules(
    checkout: Path, blood: Graph, text: str, error: str, said: str, value: float | None, calls: int
) -> None:
    shown: list[str] = []

    async def model(system: str, prompt: str, schema: Mapping[str, Any] | None) -> Reply:
        shown.append(prompt)
        assert schema is None
        return Reply(said, "m")

    answer = Answer(SAMPLE.id, "x", "annotation", text, None, False, False, error=error)
    words = Official(checkout)
    (total,) = asyncio.run(judge(SAMPLE, answer, blood, model, judge_id="j", compat=True, official=words))
    assert (total.scorer, total.value, len(shown)) == ("j:sc-arena", value, calls)


def test_a_checkout_with_other_files_is_refused_by_name(checkout: Path) -> None:
    (checkout / "evaluators" / "cl_nl6.obo").unlink()
    with pytest.raises(InputError, match=r"cl_nl6.obo: missing; --official wants a whole checkout"):
        Official(checkout).asked(SAMPLE, "x")
    (checkout / "evaluators" / "cl_nl6.obo").write_text(ONTOLOGY)
    changed = EVALUATOR.replace("cell_path_chain,", "chain,")
    (checkout / "evaluators" / "cell_type_annotation.py").write_text(changed)
    with pytest.raises(InputError, match="unknown place 'chain'"):
        Official(checkout).asked(SAMPLE, "x")


# ---- against the evaluators themselves ----------------------------------------------------------------------


@pytest.fixture
def theirs(mirror: Path, tmp_path: Path) -> Path:
    """A copy of the given checkout with what it lacks, and `MOST` answers of each task."""
    given = os.environ.get("VCKG_SC_ARENA", "")
    if not given:
        pytest.skip("VCKG_SC_ARENA names no checkout of SC-Arena")
    pytest.importorskip("pronto", reason="SC-Arena's evaluators need pronto")
    copy = tmp_path / "checkout"
    shutil.copytree(given, copy, ignore=shutil.ignore_patterns(".git"))
    side = copy / "evaluators"
    for name in ("celltype", "captioning_new", "generation", "perturbation_new", "scienceqa"):
        (side / name).mkdir()  # of their traces
    shutil.copy(copy / "prompts" / "cell_type_annotation.jsonl", copy / "prompts" / "test_prompt.jsonl")
    if not (side / "cl_nl6.obo").exists():
        shutil.copy(mirror / "ontology/cell-ontology-git/cl-basic_2022-12-15.obo", side / "cl_nl6.obo")
    for name in ("NCBI_summary_of_genes", "NCBI_UniProt_summary_of_genes"):
        if not (side / f"{name}.json").exists():
            (side / f"{name}.json").write_text(json.dumps({"KLF1": "A factor.", "FEV": f"{name} {{x}}"}))
    for name in "CPF":
        if not (side / f"gene_ontology_{name}.csv").exists():
            rows = "gene,direct_class_label\nKLF1,nucleus\nKLF1,nucleus\nKLF1,\nFEV,cytosol\nKLF1,axon\n"
            (side / f"gene_ontology_{name}.csv").write_text(rows)
    data = copy / "data"
    known = {
        line[6:].strip() for line in (side / "cl_nl6.obo").read_text().splitlines() if line[:6] == "name: "
    }
    cells = (data / "cell_sentences_fixed.jsonl").read_text().splitlines()
    named = [line for line in cells if json.loads(line)["cell_type"] in known]
    (data / "cell_sentences_fixed.jsonl").write_text("\n".join(named[:MOST]) + "\n")
    papers, left = json.loads((data / "ScientificQA_final.json").read_text()), MOST
    for paper in papers:
        paper["response"] = paper["response"][:left]
        left -= len(paper["response"])
    (data / "ScientificQA_final.json").write_text(json.dumps(papers))
    return copy


@pytest.fixture
def stub() -> Iterator[str]:
    """A judge that answers by the words it is shown."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            texts = [m["content"] for m in asked["messages"]]
            message = {"role": "assistant", "content": official_side.verdict_of(*texts)}
            choice = {"index": 0, "message": message, "finish_reason": "stop"}
            told = {
                "id": "x",
                "object": "chat.completion",
                "created": 0,
                "model": "stub",
                "choices": [choice],
            }
            body = json.dumps(told).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}/v1"
    server.shutdown()
    server.server_close()


@pytest.mark.data
def test_the_official_evaluators_agree_to_1e_12(
    theirs: Path, stub: str, fresh_graph: Graph, capsys: pytest.CaptureFixture[str]
) -> None:
    program = Path(official_side.__file__)
    done = subprocess.run(
        [sys.executable, str(program), str(theirs), stub], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    official = json.loads(done.stdout)
    words = Official(theirs)
    data = theirs / "data"
    names = ("cell_sentences_fixed.jsonl", "test_perturbation.json", "ScientificQA_final.json")
    files = scarena.Files(*(data / name for name in names), theirs / "evaluators" / "cell_marker.txt")
    cells = scarena.read_cells(files, fresh_graph, compat=True)
    cells = [replace(c, description=c.description or "of no account here") for c in cells]
    ours = words.asking(make_samples(cells, FIVE, seed=0, limit=None))
    for task, samples in ours.items():
        scores = [_score(words, task, sample) for sample in samples]
        assert sorted(map(render, samples)) == official[task]["prompts"]
        gap = abs(math.fsum(scores) / len(scores) - official[task]["accuracy"])
        with capsys.disabled():
            sys.stdout.write(f"| {task} | {len(scores)} | {official[task]['accuracy']:.12f} | {gap:.1e} |\n")
        assert gap < 1e-12
        assert len(set(scores)) == 6
    assert ours.keys() == official.keys()


def _score(words: Official, task: str, sample: Sample) -> float:
    truth = sample.gold["cell_type"] if task == "annotation" else ""
    asked = words.asked(sample, official_side.reply_to(task, render(sample), truth))
    return 1.0 if asked is None else official_score(official_side.verdict_of(*asked))
