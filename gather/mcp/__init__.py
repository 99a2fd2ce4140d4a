"""``gather mcp``: the annotation, the check and the graph as tools of the Model Context Protocol, for one folder."""
