"""The commands, as Python functions. The command line is a thin layer over this package."""
