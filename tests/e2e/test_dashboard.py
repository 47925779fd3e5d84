"""The queries of the shipped dashboard against a real Prometheus that scrapes the exporter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from exporter.simulator import Simulator
from exporter.simulator.world.sessions import datetime_from_ticks
from exporter.simulator.world.world import World
from support.exporter_harness import running_exporter, server_yaml
from support.grafana_queries import Query, label_values, panels, queries, run_query
from support.processes import EXPORTER, RELEASES, free_port, programs_of, running_process
from support.prometheus_process import Prometheus, running_prometheus
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

RULES = Path(__file__).parents[2] / "deploy" / "prometheus" / "rules"
ORGANIZATION = 'Fabrikam "North", Inc. \\ Søns & (Co)'
OPEN = 3
NEVER = -1
DELETED = "00000000-0000-4000-8000-000000000000"
ENDED = {"Success": 5, "Warning": 1, "Failed": 2, "Cancelled": 1}
WITHIN_SECONDS = 60

# As a user would select them; queries whose result means that all is well run against the demo.
SELECTIONS: tuple[dict[str, str], ...] = ({}, {"server": "demo"})

by_name = {str(query): query for query in queries()}


@dataclass(frozen=True, slots=True)
class Scene:
    """A Prometheus that scrapes the demo, and twice an exporter of the servers quiet, broken and locked."""

    prometheus: Prometheus
    world: World
    """The restore sessions of quiet; one more cannot be read."""

    def last(self, query: Query, **selected: str) -> list[float]:
        """The newest value of each series."""
        return [
            float((one["values"][-1] if "values" in one else one["value"])[1])
            for one in run_query(self.prometheus.url, query, **selected)
        ]


def failing_yaml(name: str, simulator: Simulator, password: str, poll_interval: str) -> str:
    return f"""
  - name: {name}
    url: {simulator.url}
    poll_interval: {poll_interval}
    auth: {{username: {simulator.username}, password: {password}}}
    tls_config: {{ca_file: {simulator.ca_file}}}
"""


@pytest.fixture(scope="module", params=RELEASES)
def scene(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("dashboard")
    world = World(sessions=0, organizations=0, activity=False, minimum=False)
    ids = [
        world.add_session(organization=ORGANIZATION, type=type_, state=state, result=result)
        for type_, state, result, count in (
            ("Vex", "Working", "None", OPEN),
            *(("Vet", "Stopped", result, count) for result, count in ENDED.items()),
        )
        for _ in range(count)
    ]
    configured = ", ".join((DELETED, ids[0], ids[-1]))
    demo = f"127.0.0.1:{free_port()}"
    with ExitStack() as stack:
        quiet = stack.enter_context(Simulator(world))
        quiet.faults.set("nulls", route="list", session_id=world.add_session())
        quiet.faults.set("status_503", route="statistics")
        broken = stack.enter_context(Simulator())
        broken.faults.set("status_503", route="list")
        troubled = stack.enter_context(
            running_exporter(
                server_yaml(
                    quiet,
                    "quiet",
                    f"sessions: {{extras: [statistics], discover: true, ids: [{configured}]}}",
                )
                + failing_yaml("broken", broken, broken.password, "1s")
                # Refused before the first scrape and then not retried: the reason cannot be seen.
                + failing_yaml("locked", quiet, "wrong", "1h")
            )
        )
        for name, up in (("quiet", 1), ("broken", 0), ("locked", 0)):
            troubled.wait_for(up, "vb365_up", server=name)
        stack.enter_context(
            running_process(
                [*EXPORTER, "--demo", f"--web.listen-address={demo}"], directory / "demo.log"
            )
        )
        with programs_of(request.param):
            prometheus = stack.enter_context(
                running_prometheus(
                    scrape_configuration(demo, troubled.url.removeprefix("http://"))
                    + f"rule_files: {rule_files(directory)}\n",
                    directory / "prometheus",
                )
            )
        yield Scene(prometheus, world)


def scrape_configuration(demo: str, troubled: str) -> str:
    jobs = {"demo": demo, "one": troubled, "other": troubled}
    return "global: {scrape_interval: 1s, scrape_timeout: 1s}\nscrape_configs:\n" + "".join(
        f"  - {{job_name: {job}, static_configs: [{{targets: ['{target}']}}]}}\n"
        for job, target in jobs.items()
    )


def rule_files(directory: Path) -> list[str]:
    """Copy the shipped rules, evaluated each second and with every threshold switched on."""
    copies = []
    for file in RULES.glob("*.yml"):
        copy = directory / file.name
        text = file.read_text(encoding="utf-8").replace(" unless vector(1)\n", "\n")
        copy.write_text(re.sub(r"interval: \w+", "interval: 1s", text), encoding="utf-8")
        copies.append(str(copy))
    return copies


@pytest.mark.parametrize("name", by_name)
def test_a_query_finds_data(scene: Scene, name: str) -> None:
    wait_until(
        lambda: any(scene.last(by_name[name], **selected) for selected in SELECTIONS),
        f"data for {by_name[name].expression}",
        WITHIN_SECONDS,
    )


@pytest.mark.parametrize(
    "title", [panel["title"] for panel in panels(folded=False) if "targets" in panel]
)
def test_a_panel_of_an_open_row_shows_data_of_the_demo(scene: Scene, title: str) -> None:
    asked = [query for query in queries() if query.panel == title]

    wait_until(
        lambda: any(scene.last(query, server="demo") for query in asked), title, WITHIN_SECONDS
    )


SHOWN = {
    "Open sessions/Open": OPEN,
    "Failed, 24 h/Failed": ENDED["Failed"],
    "Success rate, 24 h/Success rate": ENDED["Success"] / sum(ENDED.values()),
    "Restores per hour by result/Failed": ENDED["Failed"],
    "Restores per hour by result/Warning": ENDED["Warning"],
    "Restores per hour by result/Success": ENDED["Success"],
    "Restores per hour by result/Unknown": ENDED["Cancelled"],
    "Days since the last proven restore/A": NEVER,
    "By organization, within lookback (7 days by default)/A": OPEN,
    "By organization, within lookback (7 days by default)/C": ENDED["Success"],
    "By type, last 24 hours/A": sum(ENDED.values()),
    "Sessions opened per day by organization, top 10/{{organization}}": OPEN + sum(ENDED.values()),
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_session_counts_once_however_many_scrape_the_exporter(scene: Scene, name: str) -> None:
    """And it is found by its organization, whose name has quotes, a backslash and parentheses."""
    selected = {"server": "quiet", "organization": ORGANIZATION}
    query = by_name[name]
    wait_until(lambda: scene.last(query, **selected) != [], query.expression, WITHIN_SECONDS)

    assert scene.last(query, **selected) == [SHOWN[name]]


@pytest.mark.parametrize(
    "name",
    [name for name, query in by_name.items() if query.instant and "${server" in query.expression],
)
def test_missing_data_is_not_shown_as_a_number(scene: Scene, name: str) -> None:
    wait_until(lambda: scene.prometheus.query("vb365_up") != [], "a scrape", WITHIN_SECONDS)

    assert scene.last(by_name[name], server="nobody") == []


def test_a_failing_server_is_shown_with_the_reason(scene: Scene) -> None:
    def shown() -> set[str]:
        return {
            query.legend.replace("{{server}}", one["metric"].get("server", "")).replace(
                "{{reason}}", one["metric"].get("reason", "")
            )
            for query in queries()
            if query.panel == "VB365 servers"
            for one in run_query(scene.prometheus.url, query)
        }

    expected = {"broken: server_error", "locked: polls fail"}
    wait_until(lambda: shown() == expected, str(expected), WITHIN_SECONDS)


def test_a_failed_restore_is_marked_where_it_ended(scene: Scene) -> None:
    """In milliseconds, as Grafana wants them."""

    def marks() -> list[int]:
        return sorted(map(round, scene.last(by_name["Failed restores/"], server="quiet")))

    wait_until(lambda: marks() != [], "marks", WITHIN_SECONDS)

    assert marks() == sorted(
        round(datetime_from_ticks(session.ended).timestamp() * 1000)
        for session in scene.world.sessions()
        if session.result == "Failed" and session.ended is not None
    )


def test_a_user_can_select_existing_values(scene: Scene) -> None:
    url, servers = scene.prometheus.url, {"broken", "demo", "locked", "quiet"}
    wait_until(lambda: set(label_values(url, "server")) == servers, str(servers), WITHIN_SECONDS)

    assert label_values(url, "organization", server="quiet") == [ORGANIZATION]
    assert label_values(url, "job", server="quiet") == ["demo", "one", "other"]
    assert len(label_values(url, "instance", job="demo|one")) == 2


def test_a_selected_job_limits_what_is_shown(scene: Scene) -> None:
    query = by_name["Polls of each server/A"]
    wait_until(lambda: len(scene.last(query)) == 4, "four servers", WITHIN_SECONDS)

    assert len(scene.last(query, job="demo")) == 1
    assert len(scene.last(query, job="one")) == 3


def test_a_selected_result_limits_the_finished_sessions(scene: Scene) -> None:
    query = by_name["Sessions that ended in the time range, newest first/A"]
    selected = {"server": "quiet", "result": "Failed"}
    wait_until(lambda: scene.last(query, **selected) != [], "sessions", WITHIN_SECONDS)

    assert len(scene.last(query, **selected)) == ENDED["Failed"]
    assert scene.last(by_name["Restores per hour by result/Success"], **selected) == []


def test_each_missing_configured_session_is_shown(scene: Scene) -> None:
    query = by_name["Sessions with configured ids/A"]
    wait_until(lambda: scene.last(query) != [], "configured sessions", WITHIN_SECONDS)

    assert sorted(scene.last(query)) == [0, 1, 1]


def test_an_organization_has_days_or_never_since_its_last_proven_restore(scene: Scene) -> None:
    """The demo has an organization that never restored anything."""
    query = by_name["Days since the last proven restore/A"]

    wait_until(
        lambda: {min(day, 0) for day in scene.last(query, server="demo")} == {NEVER, 0},
        "days and never",
        WITHIN_SECONDS,
    )
