"""From scores to a label with its confidence and evidence."""
