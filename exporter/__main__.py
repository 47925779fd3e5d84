"""`python -m exporter` does what the command does."""

import sys

from exporter.cli import main

if __name__ == "__main__":
    sys.exit(main())
