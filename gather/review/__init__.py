"""Review of answers: decisions of a reader, applied to the annotated file, and its export to other tools."""
