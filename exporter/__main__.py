"""Run the command as `python -m exporter`."""

import sys

from exporter.system.signals import hold_signals


def main() -> int:
    """Run the command and return its exit status, without missing a signal that arrives while it is imported."""
    hold_signals()
    # Importing takes a second or, with little processor time, several.
    from exporter.cli import main as run  # noqa: PLC0415

    return run()


if __name__ == "__main__":
    sys.exit(main())
