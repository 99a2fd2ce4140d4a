"""Judges that see the graph, and the check of a judge."""
