"""Print what the `vckg` commands find."""
