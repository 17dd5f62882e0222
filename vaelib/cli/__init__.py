"""The command line: ``vaelib``, or ``python -m vaelib``."""

from vaelib.cli.app import main
