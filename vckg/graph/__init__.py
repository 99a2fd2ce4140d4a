"""The graph in memory and on disk: nodes, edges, names and what they ground to."""
