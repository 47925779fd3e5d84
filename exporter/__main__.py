"""Run the command as `python -m exporter`."""

import os
import sys

from exporter.system.failure import failure_status


def main() -> None:
    """Run the command and exit with its status, without missing a signal that arrives while it is imported."""
    try:
        _run()
    except Exception:  # noqa: BLE001 - `--check-idle` must not exit with 1, which means that a session is open
        try:
            sys.excepthook(*sys.exc_info())
        finally:
            sys.exit(failure_status(checks_idle=_checks_idle()))


def _run() -> None:
    # All imports may fail for lack of memory. That of the command takes a second or, with little processor time, several.
    from exporter.system.signals import hold_signals  # noqa: PLC0415

    hold_signals()
    from exporter.cli import main as run  # noqa: PLC0415
    from exporter.system.interpreter import exit_without_teardown  # noqa: PLC0415

    exit_without_teardown(run())


def _checks_idle() -> bool:
    """Whether the command is `--check-idle`, decided without the parser, which may not have been imported."""
    in_arguments = any(each.partition("=")[0] == "--check-idle" for each in sys.argv[1:])
    return in_arguments or bool(os.environ.get("VB365_EXPORTER_CHECK_IDLE", "").strip())


if __name__ == "__main__":
    main()
