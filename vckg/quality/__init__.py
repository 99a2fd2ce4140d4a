"""Check a graph: audit, comparison of releases, the rewired control, the graph card."""
