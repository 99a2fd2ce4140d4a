"""`python -m vckg`: the command `vckg`."""

from vckg.cli import main

main()
