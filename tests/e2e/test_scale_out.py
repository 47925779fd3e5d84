"""Several real instances that share many servers, and a real Prometheus that scrapes them all."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.exporter_fleet import fleet, instances, moved_servers, servers_up
from support.prometheus_process import running_prometheus, scrape_configuration
from support.waiting import wait_until

pytestmark = pytest.mark.e2e

SERVERS = 24


@pytest.mark.timeout(300)  # it starts seven exporters
def test_each_server_is_polled_by_one_of_three_instances_and_a_fourth_only_takes_over(
    tmp_path: Path,
) -> None:
    with fleet(SERVERS, tmp_path, sessions=4, poll_interval="5s") as servers:
        with (
            instances(servers, tmp_path, total_shards=3) as three,
            running_prometheus(
                scrape_configuration([one.address for one in three]), tmp_path / "prometheus"
            ) as prometheus,
        ):
            of_three = servers_up(three)
            wait_until(
                lambda: len(prometheus.query("vb365_up == 1")) >= SERVERS, "all are scraped", 60
            )
            seen = prometheus.query("count by (server) (vb365_up)")
        logins = servers.logins()
        with instances(servers, tmp_path, total_shards=4) as four:
            of_four = servers_up(four)

    assert set().union(*of_three) == servers.names
    assert sum(map(len, of_three)) == SERVERS
    assert all(of_three)
    assert logins == dict.fromkeys(servers.names, 1)
    assert {one["metric"]["server"]: one["value"][1] for one in seen} == dict.fromkeys(
        servers.names, "1"
    )
    assert set().union(*of_four) == servers.names
    takers = {new for _, new in moved_servers(of_three, of_four).values()}
    assert takers == {3}
