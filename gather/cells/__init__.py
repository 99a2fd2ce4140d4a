"""AnnData in, annotated AnnData out: expression, clusters, single cells, files."""
