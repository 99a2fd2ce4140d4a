"""From a table of pinned sources to a graph folder."""
