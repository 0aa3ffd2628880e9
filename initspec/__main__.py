"""``python -m initspec``: the command line."""

import sys

from initspec.cli import main

if __name__ == "__main__":
    sys.exit(main())
