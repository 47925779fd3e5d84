"""The documentation matches the code."""

from __future__ import annotations

import json
import re
from datetime import date, datetime
from enum import StrEnum
from pathlib import Path
from typing import get_args

import pytest

from exporter import __version__
from exporter.audit.record import Event, format_line
from exporter.config import ConfigError, parse_config
from exporter.config.loader import keys_below
from exporter.config.model import Config, InfoLabel
from exporter.metrics.catalogue import all_families
from exporter.metrics.catalogue.sessions import SESSION_LABELS
from exporter.vb365.errors import Reason
from exporter.vb365.records.changes import ChangeKind
from exporter.vb365.records.extras import EventOperation, EventStatus, Statistics
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import (
    RestoreSession,
    SessionResult,
    SessionState,
    SessionType,
    parse_session,
)
from support.alert_rules import DEPLOY, alerts, rules
from support.documentation import DOCS, ROOT, TABLES, keys_table, pages, updated
from support.documented_commands import shell_blocks
from support.logged_messages import logged_messages
from support.screenshots import SCREENSHOTS

# [text](where) and src="where", without code; where is a path, perhaps with #heading.
_LINK = re.compile(r"""\]\(([^)\s]+)\)|(?:src|href)="([^"]+)\"""")
_CODE = re.compile(r"^```.+?^```|`[^`\n]+`", re.MULTILINE | re.DOTALL)
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_METRIC = re.compile(r"(?<![\w:./-])vb365_[a-z_]+(?![\w*-])")

PAGES = pages()
by_page = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
MARKDOWN = (*PAGES, *sorted(DEPLOY.rglob("*.md")), ROOT / "tests" / "bench" / "README.md")


def text_of(page: Path) -> str:
    return page.read_text(encoding="utf-8")


LABELS = text_of(DOCS / "metrics.md").partition("## Every label")[2].partition("\n## ")[0]
LABEL_ENUMS: tuple[type[StrEnum], ...] = (
    *(SessionType, SessionState, SessionResult, EventOperation, EventStatus),
    *(Reason, RejectionReason, ChangeKind),
)


def numbers_of(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)))


def anchors(page: Path) -> set[str]:
    """Return the anchors of the headings of a page."""
    headings = _HEADING.findall(_CODE.sub(lambda code: code[0].strip("`"), text_of(page)))
    return {
        re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-") for heading in headings
    }


@by_page
def test_the_tables_match_the_code(page: Path) -> None:
    assert updated(text_of(page)) == text_of(page), "run: make docs"


def test_every_table_appears_once() -> None:
    everything = "".join(map(text_of, PAGES))

    for name in TABLES:
        assert everything.count(f"<!-- {name}: begin -->") == 1
        assert everything.count(f"<!-- {name}: end -->") == 1


def test_the_table_of_keys_has_every_key_of_the_configuration() -> None:
    wanted = [f"{place}.{key}" if place else key for place, key in keys_below(Config)]

    assert re.findall(r"^\| `(\S+)`", keys_table(), re.MULTILINE) == wanted


def test_every_reason_is_explained() -> None:
    metrics, troubleshooting = (
        text_of(DOCS / f"{name}.md") for name in ("metrics", "troubleshooting")
    )

    assert [reason for reason in Reason if f"| `{reason}` |" not in metrics] == []
    assert [reason for reason in Reason if f"| `{reason}` |" not in troubleshooting] == []


def test_every_label_and_its_known_values_are_listed() -> None:
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \|.+\| (.+) \|$", LABELS, re.MULTILINE)
    listed = {label for labels, _ in rows for label in re.findall(r"\w+", labels)}
    values = {value for _, text in rows for value in re.findall(r"`([^`]+)`", text)}
    families = all_families(get_args(InfoLabel))

    assert {label for family in families for label in family.labels} | set(SESSION_LABELS) == listed
    assert {member.value for enum in LABEL_ENUMS for member in enum} - values == set()


def test_the_sample_expositions_are_of_the_golden_one() -> None:
    golden = (ROOT / "tests" / "metrics" / "golden" / "exposition.txt").read_text(encoding="utf-8")
    blocks = [
        block
        for page in (ROOT / "README.md", DOCS / "metrics.md")
        for block in re.findall(r"^```text\n(.+?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    ]

    assert len(blocks) == 2
    assert set("".join(blocks).splitlines()) - set(golden.splitlines()) == set()


def test_every_warning_and_error_of_the_log_is_explained() -> None:
    text = text_of(DOCS / "troubleshooting.md")

    assert (
        set(re.findall(r"^\| (WARN|ERROR) \| `(.+?)` \|", text, re.MULTILINE)) == logged_messages()
    )


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_are_valid(page: Path) -> None:
    links = {"".join(found) for found in _LINK.findall(_CODE.sub("", text_of(page)))}

    for link in links:
        if "://" in link:
            continue
        path, _, heading = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not heading or heading in anchors(target), link


def test_every_page_is_linked_from_the_front_page() -> None:
    front = text_of(ROOT / "README.md")

    assert [
        str(page.relative_to(ROOT))
        for page in PAGES
        if page.name != "README.md" and f"({page.relative_to(ROOT)})" not in front
    ] == []


def test_every_block_of_commands_is_run_or_says_why_not() -> None:
    """See tests/support/documented_commands.py; tests/e2e/test_documentation_commands.py runs them."""
    assert [block.id for block in shell_blocks() if not block.is_explained] == []


@by_page
def test_only_existing_metrics_are_mentioned(page: Path) -> None:
    names = {family.name for family in all_families(("name",))}
    names |= {rule["record"] for rule in rules() if "record" in rule}
    names |= {f"{name}_{part}" for name in names for part in ("bucket", "sum", "count")}
    board = json.loads(text_of(DEPLOY / "grafana" / "dashboards" / "vb365-restore-sessions.json"))
    names |= {variable["name"] for variable in board["templating"]["list"]}

    assert set() == set(_METRIC.findall(text_of(page))) - names


def test_only_existing_alerts_are_mentioned() -> None:
    mentioned = {name for page in PAGES for name in re.findall(r"\bVb365[A-Z]\w+", text_of(page))}

    assert mentioned == {alert.name for alert in alerts()}


@by_page
def test_example_configurations_are_valid(page: Path, tmp_path: Path) -> None:
    for shown in re.findall(r"^```yaml\n(.+?)^```", text_of(page), re.MULTILINE | re.DOTALL):
        if "\nservers:" in f"\n{shown}":
            with pytest.raises(ConfigError) as caught:
                parse_config(shown, directory=tmp_path)
            # Nothing is wrong but that their files are not here.
            assert {problem.place.rpartition(".")[2] for problem in caught.value.problems} <= {
                "ca_file",
                "password_file",
            }
            assert all("cannot be read" in problem.message for problem in caught.value.problems)


def test_the_changelog_includes_this_version() -> None:
    headings = re.findall(r"^## (.+)$", text_of(ROOT / "CHANGELOG.md"), re.MULTILINE)
    assert headings[0] == "[Unreleased]"

    releases = [
        re.fullmatch(r"\[(\d+\.\d+\.\d+)\] - (\d{4}-\d\d-\d\d)", one) for one in headings[1:]
    ]
    assert all(releases), "## [X.Y.Z] - YYYY-MM-DD"
    versions = [numbers_of(found[1]) for found in releases if found]
    dates = [date.fromisoformat(found[2]) for found in releases if found]
    assert sorted(versions, reverse=True) == versions
    assert sorted(dates, reverse=True) == dates
    # The first version has no heading before it is released.
    assert numbers_of(__version__) >= max(versions, default=(0, 1, 0))


def test_the_screenshots_exist_and_are_small() -> None:
    everything = "".join(map(text_of, PAGES))

    for picture in SCREENSHOTS:
        assert f"deploy/screenshots/{picture.name}" in everything
        assert picture.path.stat().st_size < 200_000


def test_the_example_line_of_the_audit_log_is_what_the_exporter_writes() -> None:
    lines = text_of(DOCS / "audit-log.md").splitlines()
    text = next(one for one in lines if '"event":"ended"' in one)
    fields = json.loads(text)
    session = parse_session(fields)
    assert isinstance(session, RestoreSession)
    session = session._replace(statistics=Statistics(**fields["statistics"]))
    written_at = datetime.fromisoformat(fields["time"]).timestamp()

    assert format_line(Event.ENDED, fields["server"], session, written_at) == f"{text}\n".encode()


def test_metric_names_follow_the_conventions() -> None:
    for family in all_families(("name",)):
        assert family.name.startswith("vb365_")
        assert family.help.endswith(".")
        assert (family.kind.value == "counter") == family.name.endswith("_total")
        assert not family.name.endswith(("_sum", "_count", "_bucket"))


CONTRIBUTING = text_of(ROOT / "CONTRIBUTING.md")


def test_the_map_for_contributors_has_every_folder() -> None:
    folders = {
        f"{path.parent.relative_to(ROOT)}/" for path in (ROOT / "exporter").rglob("__init__.py")
    }

    unmapped = {
        folder
        for folder in folders - {"exporter/"}
        if f"`{folder}`" not in CONTRIBUTING
        and not folder.startswith(("exporter/simulator/", "exporter/metrics/"))
    }

    assert unmapped == set()


@pytest.mark.parametrize(
    "path",
    sorted(set(re.findall(r"`([a-z0-9_.]+/[a-z0-9_/.]+\.(?:py|md|toml|yml))`", CONTRIBUTING))),
)
def test_a_file_that_contributors_are_sent_to_exists(path: str) -> None:
    assert any((folder / path).is_file() for folder in (ROOT, ROOT / "exporter"))


@pytest.mark.parametrize(
    ("path", "names"),
    re.findall(
        r"^\d+\. `([a-z0-9_/]+\.py)` ((?:`[\w.]+`(?:, | and )?)+)", CONTRIBUTING, re.MULTILINE
    ),
)
def test_a_step_in_the_way_of_a_session_exists(path: str, names: str) -> None:
    source = text_of(ROOT / "exporter" / path)

    for name in re.findall(r"`([\w.]+)`", names):
        for part in name.split("."):
            assert re.search(rf"^ *(class|def) {part}\b", source, re.MULTILINE), name
