"""Scores, published and ours, on labelled files, cell sentences and marker lists."""
