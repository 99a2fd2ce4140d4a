"""`python -m gather`: the command `gather`."""

from gather.cli import main

main()
