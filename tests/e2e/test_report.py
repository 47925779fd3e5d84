"""`--report` as an operator runs it, and its page in a real Chromium, on screen and on paper."""

from __future__ import annotations

import base64
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator

from exporter.report.html_page import render_html
from exporter.report.summarize import FailedServer, Report
from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from exporter.vb365.records.restore_session import SessionResult
from support.browser_process import Browser, Tab, running_browser
from support.exporter_harness import server_yaml, write_config
from support.processes import EXPORTER, run_exporter, running_process
from support.sample_reports import REFUSED, evidence, report, sample_report
from support.sample_sessions import finished, running
from support.status_pages import random_sessions
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

NAMES = (
    "<script>document.title = 'taken over'</script>",
    "\u202egnp.exe \u05e9\u05dc\u05d5\u05dd",
    "x" * 600,
    "🦊" * 300,
    "=cmd|'/c calc'!A1",
    "",
)
INFO = ("name", "initiated_by", "client_host", "scope_name", "reason", "details")
SCHEMA = Path(__file__).parents[2] / "exporter" / "report" / "report.schema.json"


def hostile_report() -> Report:
    """Return a report whose names try to break the page."""
    sessions = [
        make(number, organization=name, **dict.fromkeys(INFO, name))
        for number, name in enumerate(NAMES, start=1)
        for make in (running, finished)
    ]
    failed = FailedServer(server=NAMES[2], reason="connect", message="vb365." * 40)
    return report(evidence(sessions, server=NAMES[0]), failed=[failed], info_labels=INFO)


def large_report() -> Report:
    """Return a report on 40 organizations of two servers, one of which is missing."""
    unknown = finished(3, result=SessionResult.UNKNOWN)
    return report(evidence([*random_sessions(400, 40, days=80), unknown]), failed=[REFUSED])


REPORTS = {
    "nothing": report(evidence(organizations=("contoso.onmicrosoft.com",))),
    "sample": sample_report(),
    "large": large_report(),
    "hostile": hostile_report(),
}


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with running_browser(tmp_path_factory.mktemp("browser")) as started:
        yield started


@pytest.fixture
def tab(browser: Browser) -> Iterator[Tab]:
    with browser.tab() as opened:
        yield opened


def page(made: Report, folder: Path) -> str:
    """Write the page, and return its URL."""
    file = folder / "report.html"
    file.write_bytes(b"".join(render_html(made)))
    return file.as_uri()


def test_the_command_writes_each_format(tmp_path: Path) -> None:
    world = World(activity=False, sessions=60)
    with Simulator(world) as simulator:
        config = write_config(tmp_path, server_yaml(simulator))
        for form, start in (("html", b"<!DOCTYPE html>"), ("csv", b"server,id,"), ("json", b"{")):
            file = tmp_path / f"report.{form}"
            run = run_exporter(
                f"--config.file={config}",
                f"--report={form}",
                "--report.since=365d",
                f"--output.file={file}",
                "--log.level=warn",
            )

            assert (run.returncode, run.stdout, run.stderr) == (0, "", "")
            assert file.read_bytes().startswith(start)
            text = file.read_text()
            assert {one.id for one in world.sessions() if one.id not in text} == set()

    document = json.loads((tmp_path / "report.json").read_text())
    Draft202012Validator(json.loads(SCHEMA.read_text())).validate(document)


def test_a_server_that_is_down_is_named_and_the_status_is_1(tmp_path: Path) -> None:
    with Simulator(World(activity=False, sessions=5)) as hq, Simulator() as branch:
        branch.faults.set("forbidden", route="list")
        config = write_config(tmp_path, server_yaml(hq) + server_yaml(branch, "branch"))
        run = run_exporter(f"--config.file={config}", "--report")

    assert run.returncode == 1
    assert "1 of 2 servers did not return its list of restore sessions." in run.stdout
    (line,) = [line for line in run.stderr.splitlines() if "level=ERROR" in line]
    assert 'msg="server missing from the report" server=branch reason=forbidden' in line


def test_a_signal_leaves_the_old_report(tmp_path: Path) -> None:
    file = tmp_path / "report.html"
    file.write_text("old")
    log = tmp_path / "log"
    with Simulator() as silent:
        silent.faults.set("silence", route="list")
        config = write_config(tmp_path, server_yaml(silent, extra="timeout: 5m"))
        command = [*EXPORTER, f"--config.file={config}", "--report", f"--output.file={file}"]
        with running_process(command, log) as run:
            wait_until(lambda: silent.requests["GET", "list"] > 0, "the list is requested")
            run.send_signal(signal.SIGTERM)
            assert run.wait(60) == 1

    assert file.read_text() == "old"
    assert sorted(one.name for one in tmp_path.iterdir()) == ["config.yaml", "log", "report.html"]
    assert "nothing written" in log.read_text()


# Elements that reach beyond the screen, and texts that overlap one another in a row.
BEYOND = """
[...document.querySelectorAll("body *")]
  .filter((one) => !one.closest("thead"))
  .map((one) => [one, one.getBoundingClientRect()])
  .filter(([one, box]) => box.width && (box.left < -1 || box.right > innerWidth + 1))
  .map(([one, box]) => [one.outerHTML.slice(0, 120), box.left, box.right])
"""
OVERLAPS = """
[...document.querySelectorAll("tbody tr")].flatMap((row) => {
  const cells = [...row.children].map((cell) => {
    const range = document.createRange();
    range.selectNodeContents(cell);
    return [cell, range.getBoundingClientRect()];
  });
  return cells.flatMap(([one, a], place) => cells.slice(place + 1)
    .filter(([other, b]) => a.left < b.right - 1 && b.left < a.right - 1
      && a.top < b.bottom - 1 && b.top < a.bottom - 1)
    .map(([other]) => [one.innerText, other.innerText]));
})
"""


@pytest.mark.parametrize("kind", REPORTS)
@pytest.mark.parametrize("width", [360, 800, 880, 1400])
def test_everything_fits_on_the_screen(tab: Tab, tmp_path: Path, kind: str, width: int) -> None:
    tab.open(page(REPORTS[kind], tmp_path), width=width)

    assert tab.value("document.documentElement.scrollWidth") == width
    assert tab.value(BEYOND) == []
    assert tab.value(OVERLAPS) == []


def test_hostile_names_are_text(tab: Tab, tmp_path: Path) -> None:
    url = page(REPORTS["hostile"], tmp_path)
    tab.open(url)

    assert tab.value("document.title").startswith("Restore evidence")
    assert tab.value("document.querySelectorAll('script, img, a').length") == 0
    assert NAMES[0] in tab.value("document.querySelector('.sessions').innerText")
    assert tab.requested() == [url]
    assert tab.complaints() == []


def printed(tab: Tab, width: float, height: float) -> bytes:
    """Print the page on paper of this size in inches; return the PDF."""
    result: dict[str, Any] = tab.call(
        "Page.printToPDF", paperWidth=width, paperHeight=height, printBackground=True
    )
    return base64.b64decode(result["data"])


@pytest.mark.parametrize(("width", "height"), [(8.27, 11.69), (8.5, 11.0)], ids=["A4", "Letter"])
def test_the_report_can_be_printed(tab: Tab, tmp_path: Path, width: float, height: float) -> None:
    tab.open(page(REPORTS["sample"], tmp_path))

    pdf = printed(tab, width, height)

    assert pdf.startswith(b"%PDF")
    assert 4 <= len(re.findall(rb"/Type\s*/Page\b", pdf)) <= 12
    # What keeps rows whole and repeats the headings on each sheet.
    tab.call("Emulation.setEmulatedMedia", media="print")
    assert tab.value("getComputedStyle(document.querySelector('.sessions tr')).breakInside") == (
        "avoid"
    )
    assert tab.value("getComputedStyle(document.querySelector('.sessions thead')).display") == (
        "table-header-group"
    )
    assert tab.value("getComputedStyle(document.body).color") == "rgb(27, 33, 41)"
