"""Check the labels that a file brings: each against the evidence, one column against another, doubtful ones first."""
