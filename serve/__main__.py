"""`python -m serve`: the command `vckg-serve`."""

from serve.cli import main

main()
