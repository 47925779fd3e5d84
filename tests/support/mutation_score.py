"""The verdict on a mutation run: `python -m support.mutation_score` after `mutmut run`.

A mutant is a copy of the code with one small change. The unit tests kill it when at least one of them fails.
Survivors that change nothing a caller can observe are listed with their reason in `tests/mutation/equivalent.toml`.
"""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from collections import Counter
from pathlib import Path

ROOT = Path(__file__).parents[2]
EQUIVALENT = ROOT / "tests" / "mutation" / "equivalent.toml"
MIN_KILLED_PERCENT = 90

_SURVIVED = {"survived", "no tests"}
_NOT_RUN = {"not checked"}
# `exporter.polling.plan.xǁClassǁmethod__mutmut_3` or `exporter.polling.plan.x_function__mutmut_3`.
_NAME = re.compile(r"(?P<module>[\w.]+)\.x[ǁ_](?P<function>.+)__mutmut_\d+$")


def main() -> int:
    """Print the score and every unlisted survivor; return 1 below the minimum."""
    statuses = _statuses()
    counts = Counter(statuses.values())
    survivors = [name for name, status in statuses.items() if status in _SURVIVED]
    listed = {
        (entry["function"], entry["change"].strip())
        for entry in tomllib.loads(EQUIVALENT.read_text(encoding="utf-8"))["mutant"]
    }
    unlisted = 0
    for name in survivors:
        function, change = _function(name), _change(name)
        if (function, change) not in listed:
            unlisted += 1
            sys.stdout.write(f"{function} ({statuses[name]})\n{change}\n\n")
    checked = sum(count for status, count in counts.items() if status not in _NOT_RUN)
    killed = checked - len(survivors)
    percent = 100 * killed / checked if checked else 0.0
    sys.stdout.write(
        f"{checked} mutants, {killed} killed ({percent:.1f} %), {len(survivors) - unlisted} listed as"
        f" equivalent, {unlisted} unlisted survivors\n"
    )
    return 0 if percent >= MIN_KILLED_PERCENT else 1


def _statuses() -> dict[str, str]:
    statuses = {}
    for line in _mutmut("results", "--all", "true").splitlines():
        name, separator, status = line.strip().rpartition(": ")
        if separator:
            statuses[name] = status
    return statuses


def _function(name: str) -> str:
    match = _NAME.match(name)
    if match is None:
        raise ValueError(f"unexpected name of a mutant: {name}")
    return f"{match['module']}.{match['function'].replace('ǁ', '.')}"


def _change(name: str) -> str:
    """Return the removed and added lines of a mutant's diff."""
    lines = _mutmut("show", name).splitlines()
    changed = (line for line in lines if line.startswith(("-", "+")))
    return "\n".join(
        f"{line[0]} {line[1:].strip()}" for line in changed if not line.startswith(("---", "+++"))
    )


def _mutmut(*arguments: str) -> str:
    command = [str(Path(sys.executable).parent / "mutmut"), *arguments]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout


if __name__ == "__main__":
    sys.exit(main())
