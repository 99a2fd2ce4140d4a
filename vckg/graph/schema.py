"""The vocabulary of the graph: categories, relations and their biolink terms.

A relation has a short name (``is_marker_for``). KGX files hold it as ``original_predicate`` (``vckg:is_marker_for``)
next to the nearest biolink predicate, which may be wider.
"""

from __future__ import annotations

from typing import NamedTuple

FORMAT = "vckg-graph"
FORMAT_VERSION = 2

CATEGORIES = (
    "Gene",
    "Cell",
    "AnatomicalEntity",
    "BiologicalProcess",
    "MolecularActivity",
    "CellularComponent",
    "Pathway",
    "Disease",
    "PhenotypicFeature",
    "Drug",
    "SmallMolecule",
    "Protein",
    "ProteinComplex",
    "GeneSet",
    "OrthologGene",
)
"""``Gene`` is a gene of the graph's species, human as built; ``OrthologGene`` is one of another species."""


class Relation(NamedTuple):
    """A kind of edge: the categories that it joins and the biolink predicate that covers it."""

    name: str
    predicate: str
    subjects: tuple[str, ...]
    objects: tuple[str, ...]
    symmetric: bool = False
    """Whether an edge is stored once, with the lower CURIE as subject."""


_GO = ("BiologicalProcess", "MolecularActivity", "CellularComponent")
_ONTOLOGY = ("Cell", "AnatomicalEntity", *_GO, "Disease", "PhenotypicFeature", "Pathway")
_PRODUCT = ("Gene", "ProteinComplex")
_OTHER = ("OrthologGene",)
_CHEMICAL = ("Drug", "SmallMolecule")

RELATIONS = (
    Relation("is_marker_for", "biolink:expressed_in", ("Gene",), ("Cell",)),
    Relation("is_negative_marker_for", "biolink:related_to", ("Gene",), ("Cell",)),
    Relation("expressed_in", "biolink:expressed_in", ("Gene",), ("AnatomicalEntity", "Cell")),
    Relation(
        "participates_in", "biolink:participates_in", ("Gene",), ("Pathway", "BiologicalProcess", "GeneSet")
    ),
    Relation("enables", "biolink:enables", ("Gene",), ("MolecularActivity",)),
    Relation("located_in", "biolink:located_in", ("Gene",), ("CellularComponent",)),
    Relation("regulates", "biolink:regulates", ("Gene",), ("Gene",)),
    Relation("interacts_with", "biolink:interacts_with", ("Gene",), ("Gene",), symmetric=True),
    Relation("ligand_receptor", "biolink:interacts_with", _PRODUCT, _PRODUCT),
    Relation("has_component", "biolink:has_part", ("ProteinComplex",), ("Gene",)),
    Relation("has_gene_product", "biolink:has_gene_product", ("Gene",), ("Protein",)),
    Relation("associated_with", "biolink:gene_associated_with_condition", ("Gene",), ("Disease",)),
    Relation("has_phenotype", "biolink:has_phenotype", ("Gene", "Disease"), ("PhenotypicFeature",)),
    Relation("targets", "biolink:affects", _CHEMICAL, ("Gene",)),
    Relation("treats", "biolink:treats_or_applied_or_studied_to_treat", _CHEMICAL, ("Disease",)),
    Relation("subclass_of", "biolink:subclass_of", _ONTOLOGY, _ONTOLOGY),
    Relation("part_of", "biolink:part_of", _ONTOLOGY, _ONTOLOGY),
    Relation("is_a_or_part_of", "biolink:related_to", ("AnatomicalEntity",), ("AnatomicalEntity",)),
    Relation("capable_of", "biolink:capable_of", ("Cell",), ("BiologicalProcess", "MolecularActivity")),
    Relation(
        "develops_from", "biolink:develops_from", ("Cell", "AnatomicalEntity"), ("Cell", "AnatomicalEntity")
    ),
    Relation("has_soma_location", "biolink:located_in", ("Cell",), ("AnatomicalEntity",)),
    Relation(
        "has_surface_part", "biolink:has_plasma_membrane_part", ("Cell",), ("Protein", "ProteinComplex")
    ),
    Relation("lacks_surface_part", "biolink:lacks_part", ("Cell",), ("Protein", "ProteinComplex")),
    Relation("regulates_process", "biolink:regulates", _GO, _GO),
    Relation("positively_regulates_process", "biolink:regulates", _GO, _GO),
    Relation("negatively_regulates_process", "biolink:regulates", _GO, _GO),
    Relation("has_part", "biolink:has_part", _GO, _GO),
    Relation("occurs_in", "biolink:occurs_in", _GO, ("AnatomicalEntity", "Cell", *_GO)),
    Relation("orthologous_to", "biolink:orthologous_to", _OTHER, ("Gene",)),
    Relation("is_ortholog_marker_for", "biolink:expressed_in", _OTHER, ("Cell",)),
    Relation("is_negative_ortholog_marker_for", "biolink:related_to", _OTHER, ("Cell",)),
    Relation("ortholog_expressed_in", "biolink:expressed_in", _OTHER, ("AnatomicalEntity", "Cell")),
)
OF_ORTHOLOGS = {
    "is_ortholog_marker_for": "is_marker_for",
    "is_negative_ortholog_marker_for": "is_negative_marker_for",
    "ortholog_expressed_in": "expressed_in",
}
"""Relations of genes of another species, and the relation each is of that species' own genes.

They are apart so that a statement about mouse never passes as one about human.
"""
ORTHOLOGY = "orthologous_to"

RELATION_NAMES = tuple(r.name for r in RELATIONS)
CATEGORY_CODE = {name: code for code, name in enumerate(CATEGORIES)}
RELATION_CODE = {name: code for code, name in enumerate(RELATION_NAMES)}

#: Allowed CURIE prefixes by category; the build and the audit refuse others.
PREFIXES = {
    "Gene": ("HGNC",),
    "Cell": ("CL",),
    "AnatomicalEntity": ("UBERON",),
    "BiologicalProcess": ("GO",),
    "MolecularActivity": ("GO",),
    "CellularComponent": ("GO",),
    "Pathway": ("REACT", "MSigDB", "KEGG", "PathBank", "WP"),
    "Disease": ("MONDO", "DOID"),
    "PhenotypicFeature": ("HP",),
    "Drug": ("CHEMBL.COMPOUND", "DGIDB", "DRUGBANK", "PUBCHEM.COMPOUND", "RXCUI", "NCIT", "GTOPDB", "TTD"),
    "SmallMolecule": ("CHEBI", "MESH", "PUBCHEM.COMPOUND"),
    "Protein": ("PR", "UniProtKB", "ENSEMBL"),
    "ProteinComplex": ("CPDB", "COMPLEX", "ComplexPortal", "GO", "PR"),
    "GeneSet": ("MSigDB", "JASPAR", "CHEA3", "GENESET"),
    "OrthologGene": ("MGI",),
}
#: The taxon of a gene by its prefix.
TAXA = {"HGNC": "NCBITaxon:9606", "MGI": "NCBITaxon:10090"}

KNOWLEDGE_LEVELS = (
    "knowledge_assertion",
    "logical_entailment",
    "prediction",
    "statistical_association",
    "observation",
    "not_provided",
)
AGENT_TYPES = (
    "manual_agent",
    "automated_agent",
    "data_analysis_pipeline",
    "computational_model",
    "text_mining_agent",
    "image_processing_agent",
    "manual_validation_of_automated_agent",
    "not_provided",
)
