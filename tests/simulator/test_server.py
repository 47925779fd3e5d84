from __future__ import annotations

import socket
import ssl
import threading
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPSConnection
from pathlib import Path

import pytest
import requests
import trustme
from simulator.support import Client, Simulate, WallClock, empty_world

from exporter.simulator import Simulator
from exporter.simulator.world.world import World
from support.processes import free_port
from support.waiting import wait_until


def simulator_threads() -> int:
    return sum(thread.name == "simulator" for thread in threading.enumerate())


def test_closing_ends_the_thread_frees_the_port_and_removes_the_ca_file() -> None:
    before = simulator_threads()
    with Simulator(empty_world(), port=free_port()) as simulator:
        port, ca_file = simulator.port, simulator.ca_file
        assert simulator_threads() == before + 1
        assert ca_file.read_bytes() == simulator.ca_pem
    simulator.close()

    assert simulator_threads() == before
    assert not ca_file.exists()
    socket.create_server(("127.0.0.1", port)).close()


def test_closing_does_not_wait_for_hanging_requests(simulate: Simulate) -> None:
    client = simulate()
    client.simulator.faults.set("silence")
    with ThreadPoolExecutor() as pool:
        hanging = pool.submit(client.get, "/v8/Health")
        wait_until(lambda: client.simulator.requests["GET", "health"] == 1, "the request arrives")
        client.simulator.close()
        with pytest.raises(requests.exceptions.ConnectionError):
            hanging.result(timeout=10)


def test_a_hanging_request_ends_when_its_client_disconnects(simulate: Simulate) -> None:
    simulator = simulate().simulator
    simulator.faults.set("silence")
    trust = ssl.create_default_context(cafile=simulator.ca_file)
    client = HTTPSConnection("127.0.0.1", simulator.port, context=trust)
    client.request("GET", "/v8/Health")
    wait_until(lambda: simulator.traffic.active == 1, "the request arrives")

    client.close()

    wait_until(lambda: simulator.traffic.active == 0, "the request ends")


def test_a_port_in_use_is_an_error_without_leftovers(client: Client) -> None:
    before = simulator_threads()
    second = Simulator(empty_world(), port=client.simulator.port)
    with pytest.raises(OSError, match="in use"):
        second.start()

    assert simulator_threads() == before


def test_it_can_be_started_again_on_another_port() -> None:
    simulator = Simulator(empty_world())
    for _ in range(2):
        with simulator:
            client = Client(simulator)
            assert client.json("/v8/Health")
            client.close()


def test_before_the_start_there_is_no_url() -> None:
    with pytest.raises(RuntimeError, match="has not been started"):
        _ = Simulator(empty_world()).url


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "::1", ""])
def test_the_certificate_is_valid_for_every_local_name(simulate: Simulate, host: str) -> None:
    client = simulate(host=host)

    assert client.json("/v8/Health")
    if host != "::1":
        url = f"https://localhost:{client.simulator.port}/v8/Health"
        assert client.http.get(url, timeout=10).status_code == 200


def test_a_given_ca_file_is_written_and_kept(tmp_path: Path) -> None:
    ca_file = tmp_path / "ca.pem"
    with Simulator(empty_world(), ca_file=ca_file) as simulator:
        assert simulator.ca_file == ca_file

    assert ca_file.read_bytes() == simulator.ca_pem


def test_a_certificate_can_be_given(simulate: Simulate, tmp_path: Path) -> None:
    certificate = trustme.CA().issue_cert("127.0.0.1")
    certificate.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    certificate.private_key_pem.write_to_path(tmp_path / "key.pem")
    client = simulate(log_in=None, cert_file=tmp_path / "cert.pem", key_file=tmp_path / "key.pem")
    shown = ssl.get_server_certificate(("127.0.0.1", client.simulator.port))

    assert shown.encode().strip() == certificate.cert_chain_pems[0].bytes().strip()
    assert client.simulator.ca_pem == certificate.cert_chain_pems[0].bytes()


def test_requests_and_bytes_are_counted_by_operation(client: Client, world: World) -> None:
    key = world.add_session()
    sizes = [len(client.get("/V8/RestoreSessions?limit=5").content) for _ in range(2)]
    client.get(f"/v6/restoresessions/{key}")
    client.get("/nowhere")
    simulator = client.simulator

    assert simulator.requests == {
        ("GET", "list"): 2,
        ("GET", "get"): 1,
        ("GET", "unknown"): 1,
    }
    assert simulator.response_bytes["GET", "list"] == sum(sizes)
    assert simulator.traffic.log[0] == "GET /V8/RestoreSessions?limit=5"
    simulator.traffic.reset()
    assert not simulator.requests
    assert not simulator.response_bytes
    assert not simulator.traffic.log


def test_each_response_is_delayed_by_the_latency(simulate: Simulate) -> None:
    client = simulate(latency=0.05)

    assert client.get("/v8/Health").elapsed.total_seconds() >= 0.05


def test_many_clients_are_served_at_once(simulate: Simulate) -> None:
    client = simulate(latency=0.02, world=World(clock=WallClock()))
    with ThreadPoolExecutor(8) as pool:
        responses = list(pool.map(lambda _: client.get("/v8/RestoreSessions"), range(40)))

    assert len({response.content for response in responses}) == 1


def test_a_silent_client_does_not_delay_others(client: Client) -> None:
    with socket.create_connection(("127.0.0.1", client.simulator.port)):
        assert client.get("/v8/Health").status_code == 200
