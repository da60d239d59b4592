"""`python -m nanolake`: the command line."""

from nanolake.cli import main

main(prog_name="nanolake")
