"""`python -m repro`, which does the same as the console script."""

import sys

from repro.cli import main

if __name__ == "__main__":
    sys.exit(main())
