"""A day of a service provider as series of the exporter, and when alerts fire in it according to promtool."""

from __future__ import annotations

import json
import random
import re
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from support.alert_rules import RULES, load_yaml
from support.processes import debian_program

STEP_MINUTES = 4
DAY_MINUTES = 1440
_ORGANIZATIONS = 40
_RESTORES, _FAILED, _WITH_WARNINGS = 300, 12, 30
_LEFT_OPEN = 8
_DEAD_FROM_MINUTE, _NIGHTLY_TESTS = 3 * 60 + 5, 8
_TYPES = ("Vex", "Veod", "Vesp", "Vet")
_LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')

Labels = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class _Restore:
    """A restore session that ends within the day; times are minutes since midnight."""

    number: int
    tenant: int
    type: str
    ended: int
    minutes: int
    result: str

    @property
    def server(self) -> str:
        """The server of the tenant."""
        return ("hq", "branch")[self.tenant % 2]


def _restores() -> list[_Restore]:
    """Return 300 restores, four fifths of them in working hours; eight nightly restore tests meet a dead repository."""
    chance = random.Random(1)  # noqa: S311 - a repeatable day
    results = ["Failed"] * _FAILED + ["Warning"] * _WITH_WARNINGS
    results += ["Success"] * (_RESTORES - _NIGHTLY_TESTS - len(results))
    chance.shuffle(results)
    restores = []
    for number, result in enumerate(results):
        hours = range(8, 18) if number % 5 else (*range(8), *range(18, 24))
        restores.append(
            _Restore(
                number,
                chance.randrange(_ORGANIZATIONS),
                chance.choice(_TYPES),
                chance.choice(hours) * 60 + chance.randrange(60),
                chance.randrange(2, 40),
                result,
            )
        )
    restores += [
        _Restore(len(restores) + test, 2 * test, "Vex", _DEAD_FROM_MINUTE + 5 * test, 5, "Failed")
        for test in range(_NIGHTLY_TESTS)
    ]
    return restores


def _labels(server: str, **labels: str) -> str:
    named = {"job": "vb365", "instance": "exporter:10365", "server": server, **labels}
    return "{" + ",".join(f'{name}="{value}"' for name, value in named.items()) + "}"


def _session_id(number: int) -> str:
    return f"{number:08x}-9cdc-4004-9160-9b90f90f1bbf"


def _from(minute: int, value: float, until: int = DAY_MINUTES) -> str:
    """Return a series that has this value from the first step after `minute`."""
    first = minute // STEP_MINUTES + 1
    last = until // STEP_MINUTES
    return f"{f'_x{first - 1} _ ' if first else ''}{value}x{max(last - first, 0)} stale"


def _input_series() -> Iterator[tuple[str, str]]:
    steps = DAY_MINUTES // STEP_MINUTES
    yield 'up{job="vb365",instance="exporter:10365"}', f"1x{steps}"
    yield (
        'vb365_exporter_build_info{job="vb365",instance="exporter:10365",version="1",python_version="3"}',
        f"1x{steps}",
    )
    for server in ("hq", "branch"):
        yield f"vb365_up{_labels(server)}", f"1x{steps}"
        yield f"vb365_sessions_listed{_labels(server)}", f"2000x{steps}"
        now = f"0+{STEP_MINUTES * 60}x{steps}"
        yield f"vb365_last_successful_poll_timestamp_seconds{_labels(server)}", now
    for one in _restores():
        session = {
            "organization": f"tenant-{one.tenant:02}.example",
            "type": one.type,
            "session_id": _session_id(one.number),
        }
        ended = _from(one.ended, one.ended * 60)
        yield (
            f"vb365_restore_session_result{_labels(one.server, **session, result=one.result)}",
            _from(one.ended, 1),
        )
        yield (
            f"vb365_restore_session_end_timestamp_seconds{_labels(one.server, **session)}",
            ended,
        )
        yield (
            f"vb365_restore_session_duration_seconds{_labels(one.server, **session)}",
            _from(one.ended, one.minutes * 60),
        )
    for number in range(_LEFT_OPEN):
        # Opened the day before, used until the evening, closed in the morning.
        session = {
            "organization": f"tenant-{number:02}.example",
            "type": _TYPES[number % 4],
            "session_id": _session_id(10_000 + number),
        }
        labels = _labels(("hq", "branch")[number % 2], **session)
        closed = 9 * 60 + 10 * number
        opened, used = -(10 * 60 - 20 * number) * 60, -(7 * 60 - 12 * number) * 60
        yield (
            f"vb365_restore_session_start_timestamp_seconds{labels}",
            f"{opened}x{closed // STEP_MINUTES} stale",
        )
        yield (
            f"vb365_restore_session_last_event_timestamp_seconds{labels}",
            f"{used}x{closed // STEP_MINUTES} stale",
        )
        state = labels.replace("}", ',state="Stopped"}')
        yield f"vb365_restore_session_state{state}", f"0x{closed // STEP_MINUTES} stale"


def firing_alerts(directory: Path) -> dict[int, Sequence[Labels]]:
    """Return the labels of the alerts that fire, by minute of the day, as promtool evaluates the rules."""
    groups = [group["name"] for path in RULES.glob("*.yml") for group in load_yaml(path)["groups"]]
    minutes = range(0, DAY_MINUTES, STEP_MINUTES)
    expression = 'ALERTS{alertstate="firing"}'
    document = {
        "rule_files": [str(RULES / "*.yml")],
        "evaluation_interval": f"{STEP_MINUTES}m",
        "group_eval_order": sorted(groups, key="vb365-restores".__eq__),
        "tests": [
            {
                "interval": f"{STEP_MINUTES}m",
                "input_series": [
                    {"series": series, "values": values} for series, values in _input_series()
                ],
                "promql_expr_test": [
                    {"expr": expression, "eval_time": f"{minute}m", "exp_samples": []}
                    for minute in minutes
                ],
            }
        ],
    }
    path = directory / "day.test.yml"
    path.write_text(yaml.safe_dump(document), encoding="utf-8")
    # It expects no alerts, so it prints those it got.
    tested = subprocess.run(
        [debian_program("promtool", "prometheus"), "test", "rules", path],
        capture_output=True,
        text=True,
        check=False,
    )
    assert "got:" in tested.stderr, tested.stderr[:2000]
    firing: dict[int, Sequence[Labels]] = dict.fromkeys(minutes, ())
    for part in tested.stderr.split("expr: ")[1:]:
        (time,) = re.findall(r"time: ([\dhms]+),", part)
        minute = sum(
            int(number) * {"h": 60, "m": 1, "s": 0}[unit]
            for number, unit in re.findall(r"(\d+)([hms])", time)
        )
        _, _, got = part.partition("got:")
        firing[minute] = [
            {
                name: json.loads(f'"{value}"')
                for name, value in _LABEL.findall(labels)
                if name not in ("__name__", "alertstate")
            }
            for labels in re.findall(r"\{(.+?)\} 1E\+00", got)
        ]
    return firing
