"""Ordinary inputs, each as its own tool writes it, and what `gather annotate` makes of them."""
