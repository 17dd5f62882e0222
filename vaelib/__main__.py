"""``python -m vaelib``: the command line."""

import sys

from vaelib.cli import main

sys.exit(main())
