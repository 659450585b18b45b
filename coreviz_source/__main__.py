"""`python -m coreviz_source`: the command line where the console script is not on the path."""

from coreviz_source.cli import main

main(prog_name="coreviz-source")
