"""The documentation says what the code does."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import datetime

from exporter.audit.record import Event, line
from exporter.metrics.catalogue import all_families
from exporter.vb365.errors import Reason
from exporter.vb365.extras import Statistics
from exporter.vb365.model import RestoreSession, parse_session
from support.readme import README, written
from support.screenshots import PICTURES


def test_the_readmes_tables_are_those_of_the_code() -> None:
    readme = README.read_text(encoding="utf-8")

    assert written(readme) == readme, "run: make docs"


def test_every_reason_is_explained() -> None:
    readme = README.read_text(encoding="utf-8")

    assert [] == [reason for reason in Reason if f"| `{reason}` |" not in readme]


def test_the_readmes_pictures_are_there_and_small() -> None:
    readme = README.read_text(encoding="utf-8")

    for picture in PICTURES:
        assert f"deploy/screenshots/{picture.name}" in readme
        assert picture.path.stat().st_size < 200_000


def test_the_readmes_line_of_the_audit_log_is_what_the_exporter_writes() -> None:
    text = next(
        one for one in README.read_text(encoding="utf-8").splitlines() if '"event":"ended"' in one
    )
    fields = json.loads(text)
    session = parse_session(fields)
    assert isinstance(session, RestoreSession)
    session = replace(session, statistics=Statistics(**fields["statistics"]))
    written_at = datetime.fromisoformat(fields["time"]).timestamp()

    assert f"{text}\n".encode() == line(Event.ENDED, fields["server"], session, written_at)


def test_metric_names_follow_the_conventions() -> None:
    for family in all_families(("name",)):
        assert family.name.startswith("vb365_")
        assert family.help.endswith(".")
        assert (family.kind.value == "counter") == family.name.endswith("_total")
        assert not family.name.endswith(("_sum", "_count", "_bucket"))
