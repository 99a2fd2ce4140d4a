"""One sample of each task, for the tests of the check of judges."""

from arena.types import Sample

ANNOTATION = Sample(
    "t/annotation/1",
    "annotation",
    {},
    {"cell_type": "T cell", "cl_id": "CL:0000084"},
    {"genes": ["CD3D", "CD3E", "TRAC"], "tissue": "blood", "species": "human"},
    "c",
    {},
    {},
)
CAPTION = Sample(
    "t/captioning/1",
    "captioning",
    {},
    {**ANNOTATION.gold, "caption": "A lymphocyte with a T cell receptor."},
    ANNOTATION.fields,
    "c",
    {},
    {},
)
GENERATION = Sample(
    "t/generation/1",
    "generation",
    {},
    {**ANNOTATION.gold, "markers": ["CD3D", "CD3E"], "sentences": [["CD3D", "ACTB", "CD3E", "TRAC"]]},
    {
        "cell_type": "T cell",
        "cl_id": "CL:0000084",
        "description": "",
        "tissue": "",
        "species": "",
        "length": 4,
    },
    "c",
    {},
    {},
)
PERTURBATION = Sample(
    "t/perturbation/1",
    "perturbation",
    {},
    {"up": ["HBG1", "GATA1"], "down": ["SPI1"], "sentence": []},
    {
        "perturbed": ["KLF1"],
        "effect": "activation",
        "candidates": ["HBG1", "GATA1", "SPI1"],
        "control": [],
        "context": "a cell",
    },
    "c",
    {},
    {},
)
QA = Sample(
    "t/qa/1",
    "qa",
    {},
    {
        "answer": "KLF1 activates HBG1 in erythroid cells.",
        "claims": ["KLF1 activates HBG1 in erythroid cells."],
    },
    {
        "question": "What does KLF1 do?",
        "kind": "k",
        "title": "",
        "abstract": "",
        "passage": "",
        "publications": [],
    },
    "c",
    {},
    {},
)
SAMPLES = [ANNOTATION, CAPTION, GENERATION, PERTURBATION, QA]
