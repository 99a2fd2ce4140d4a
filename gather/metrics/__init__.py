"""Metrics of cell type labels, with intervals and paired tests."""
