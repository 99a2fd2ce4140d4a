"""Answers in replies: the last one counts, thinking does not, brackets nest, a refusal is told from a misformat."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from arena.tasks import TASK_TABLE, TASKS, parse_tasks, prompt_id, read_reply, render
from arena.tasks.reply import gene_list
from arena.types import Sample
from vckg.base.errors import InputError

SYMBOL = st.from_regex(r"[A-Z][A-Z0-9]{1,6}(-[A-Z0-9]{1,3})?", fullmatch=True).filter(
    lambda g: g.lower() not in {"none", "null", "na", "and", "gene", "empty"}
)
GENES = st.lists(SYMBOL, min_size=1, max_size=8)
PROSE = st.from_regex(r"[a-z][a-z ,+-]{3,40}[a-z]", fullmatch=True).filter(
    lambda t: t not in {"name of the cell type", "the description", "the answer"}
)


@pytest.mark.parametrize(
    ("reply", "name"),
    [
        ("[Predicted_Cell_Type: T cell]", "T cell"),
        ("First I thought [Predicted_Cell_Type: B cell], but: [Predicted_Cell_Type: T cell]", "T cell"),
        ("<think>[Predicted_Cell_Type: B cell]</think> [Predicted_Cell_Type: T cell]", "T cell"),
        ("[Predicted_Cell_Type: T cell] <think>or [Predicted_Cell_Type: B cell]</think>", "T cell"),
        ("[Predicted_Cell_Type: B cell] so far</think>[Predicted_Cell_Type: T cell]", "T cell"),
        ("[Predicted_Cell_Type: CD4[+] T cell]", "CD4[+] T cell"),
        ("**[Predicted_Cell_Type: **T cell**]**", "T cell"),
        ("[predicted cell type: T cell]", "T cell"),
        ("[Predicted_Cell_Type:\n  naive   T cell\n]", "naive T cell"),
        ("[Predicted_Cell_Type: T cell", "T cell"),
        ("Use [Predicted_Cell_Type: name of the cell type].\n[Predicted_Cell_Type: T cell]", "T cell"),
        ("[Predicted_Cell_Type: T cell]\nin the form [Predicted_Cell_Type: ...]", "T cell"),
    ],
)
def test_the_last_answer_outside_the_thinking_counts(reply: str, name: str) -> None:
    assert read_reply("annotation", reply) == ({"cell_type": name}, False)


@pytest.mark.parametrize(
    "reply",
    [
        "",
        "T cell",
        "[Predicted_Cell_Type: ]",
        "[Predicted_Cell_Type: ...]",
        "<think>[Predicted_Cell_Type: T cell]",
    ],
)
def test_a_reply_without_an_answer_binds_nothing_and_refuses_nothing(reply: str) -> None:
    assert read_reply("annotation", reply) == (None, False)


@pytest.mark.parametrize(
    ("task", "reply", "parsed"),
    [
        ("annotation", "**Predicted_Cell_Type:** T cell\nCD3D says so.", {"cell_type": "T cell"}),
        ("annotation", "Predicted cell type:\nT cell", {"cell_type": "T cell"}),
        ("annotation", '```json\n{"predicted_cell_type": "T cell", "why": ""}\n```', {"cell_type": "T cell"}),
        ("annotation", "Predicted_Cell_Type: B cell\n[Predicted_Cell_Type: T cell]", {"cell_type": "T cell"}),
        ("annotation", "[T cell]", {"cell_type": "T cell"}),
        ("annotation", "{broken [T cell]", None),
        ("generation", "[CD3D, CD3E]", {"genes": ["CD3D", "CD3E"]}),
        ("generation", "[CD3D, CD3E, CD", {"genes": ["CD3D", "CD3E", "CD"]}),
        ("generation", '{"Cell_Sentence": ["CD3D", "CD3E"]}', {"genes": ["CD3D", "CD3E"]}),
        ("generation", "Cell sentence:\n1. CD3D\n2. CD3E", {"genes": ["CD3D", "CD3E"]}),
        (
            "perturbation",
            "**Up:** A1, B2\n**Down:** C3",
            {"up": ["A1", "B2"], "down": ["C3"], "sentence": []},
        ),
        ("perturbation", "[A1, B2]", None),
        ("qa", "Answer:\nFirst: LYZ.\nSecond: CD14.", {"answer": "First: LYZ.\nSecond: CD14."}),
        ("qa", "[Answer: the answer]\nAnswer: LYZ", None),
        ("captioning", "Captioning: A T cell.\nIt kills.\n\nDone.", {"caption": "A T cell.\nIt kills."}),
    ],
)
def test_an_answer_without_its_brackets_is_read(
    task: str, reply: str, parsed: dict[str, object] | None
) -> None:
    assert read_reply(task, reply)[0] == parsed


def test_a_refusal_is_one_only_without_an_answer() -> None:
    assert read_reply("qa", "I'm sorry, I cannot help with that.") == (None, True)
    assert read_reply("qa", "I cannot be sure. [Answer: GATA1]") == ({"answer": "GATA1"}, False)


@pytest.mark.parametrize(
    ("written", "genes"),
    [
        ("CD3D, CD3E,CD8A", ["CD3D", "CD3E", "CD8A"]),
        ("CD3D CD3E CD8A", ["CD3D", "CD3E", "CD8A"]),
        ("1. CD3D\n2. CD3E", ["CD3D", "CD3E"]),
        ("- `CD3D`\n- **HLA-DRA**", ["CD3D", "HLA-DRA"]),
        ("CD3D and CD3E.", ["CD3D", "CD3E"]),
        ("CD3D > CD3D", ["CD3D", "CD3D"]),
        ("none", []),
        ("RP11-301G19.1 MT-CO1", ["RP11-301G19.1", "MT-CO1"]),
    ],
)
def test_gene_lists_as_models_write_them(written: str, genes: list[str]) -> None:
    assert gene_list(written) == genes


def test_an_unclosed_direction_ends_at_the_next_tag() -> None:
    parsed, _ = read_reply("perturbation", "[Up: A1, B2 [Down: C3]")
    assert parsed == {"up": ["A1", "B2"], "down": ["C3"], "sentence": []}


def test_one_empty_direction_is_an_answer_and_none_is_not() -> None:
    assert read_reply("perturbation", "[Up: none][Down: A1]")[0] == {"up": [], "down": ["A1"], "sentence": []}
    assert read_reply("perturbation", "[Cell_Sentence: A1 B2]")[0] is None


@given(name=PROSE, draft=PROSE)
def test_what_is_wrapped_is_read_back_whatever_came_before(name: str, draft: str) -> None:
    for task, key in (("annotation", "cell_type"), ("captioning", "caption"), ("qa", "answer")):
        table = TASK_TABLE[task]
        text = f"<think>{table.wrap({key: draft})}</think> maybe {table.wrap({key: draft})}\n{table.wrap({key: name})}"
        assert read_reply(task, text)[0] == {key: " ".join(name.split()) if task == "annotation" else name}


@given(up=GENES, down=GENES, sentence=GENES)
def test_gene_answers_survive_the_way_there_and_back(
    up: list[str], down: list[str], sentence: list[str]
) -> None:
    answer = {"up": up, "down": down, "sentence": sentence}
    assert read_reply("perturbation", TASK_TABLE["perturbation"].wrap(answer))[0] == answer
    assert read_reply("generation", TASK_TABLE["generation"].wrap({"genes": up}))[0] == {"genes": up}


@given(st.text(max_size=200))
def test_no_text_breaks_a_parser(text: str) -> None:
    for task in TASKS:
        parsed, refused = read_reply(task, text)
        assert parsed is None or not refused


def test_every_task_says_which_words_were_asked() -> None:
    ids = {task: prompt_id(task) for task in TASKS}
    assert len(set(ids.values())) == len(TASKS)
    assert all("@" in i for i in ids.values())
    assert ids["perturbation"].count("+") == 1  # with and without the expression before


def test_a_prompt_shows_the_sample_and_not_its_gold() -> None:
    sample = Sample(
        "s",
        "annotation",
        {"n_genes": "2", "context": "a human cell from lung", "sentence": "MALAT1 PRF1"},
        {"cell_type": "natural killer cell", "cl_id": "CL:0000623"},
        {},
        "c",
        {},
        {},
    )
    prompt = render(sample)
    assert "MALAT1 PRF1" in prompt
    assert "a human cell from lung" in prompt
    assert "killer" not in prompt


def test_tasks_by_name_all_and_misspelt() -> None:
    assert parse_tasks(["qa,annotation"]) == ("annotation", "qa")
    assert parse_tasks(["all", "qa"]) == TASKS
    with pytest.raises(InputError, match=r"no task 'anotation' \(did you mean 'annotation'\?\)"):
        parse_tasks(["anotation"])
