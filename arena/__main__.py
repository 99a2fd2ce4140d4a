"""`python -m arena`: the command `arena`."""

from arena.cli import main

main()
