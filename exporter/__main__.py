"""Run the command as `python -m exporter`."""

from exporter.system.interpreter import exit_without_teardown
from exporter.system.signals import hold_signals


def main() -> None:
    """Run the command and exit with its status, without missing a signal that arrives while it is imported."""
    hold_signals()
    # Importing takes a second or, with little processor time, several.
    from exporter.cli import main as run  # noqa: PLC0415

    exit_without_teardown(run())


if __name__ == "__main__":
    main()
