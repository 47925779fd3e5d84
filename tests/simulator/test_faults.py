from __future__ import annotations

from typing import Any

import pytest

from exporter.simulator.faults.catalogue import CATALOGUE
from exporter.simulator.faults.handlers import FAULT_HANDLERS
from exporter.simulator.faults.registry import Faults

CONNECTION_FAULTS = {
    "connection_refused",
    "tls_expired",
    "tls_wrong_host",
    "tls_unknown_ca",
    "tls_handshake_hangs",
}


def faulty_list(
    faults: Faults, operation: str, session_id: str | None = None, grant: str = ""
) -> str:
    fault = faults.next_for_request(operation, session_id, grant)
    return "" if fault is None else fault.name


def test_every_fault_of_the_catalogue_is_implemented() -> None:
    assert set(CATALOGUE) == set(FAULT_HANDLERS) | CONNECTION_FAULTS
    assert {name for name, d in CATALOGUE.items() if d.scope == "connection"} == CONNECTION_FAULTS


def test_a_fault_affects_only_its_route() -> None:
    faults = Faults()
    faults.set("status_500", route="list")

    assert [faulty_list(faults, operation) for operation in ("list", "get")] == ["status_500", ""]


def test_an_api_fault_does_not_affect_the_token_endpoint() -> None:
    faults = Faults()
    faults.set("forbidden")

    assert faulty_list(faults, "service_instance") == "forbidden"
    assert faulty_list(faults, "token") == ""
    assert faulty_list(faults, "logout") == ""
    faults.set("forbidden", route="all")
    assert faulty_list(faults, "token") == "forbidden"


def test_a_fault_of_one_session_affects_its_requests_and_lists() -> None:
    faults = Faults()
    faults.set("forbidden", session_id="ABC")

    assert faulty_list(faults, "get", "abc") == "forbidden"
    assert faulty_list(faults, "get", "def") == ""
    assert faulty_list(faults, "service_instance") == ""
    assert faulty_list(faults, "list") == "forbidden"


def test_a_refused_password_does_not_affect_a_refresh() -> None:
    faults = Faults()
    faults.set("password_refused")

    assert faulty_list(faults, "token", grant="refresh_token") == ""
    assert faulty_list(faults, "token", grant="password") == "password_refused"


def test_the_fault_set_first_takes_effect() -> None:
    faults = Faults()
    faults.set("html")
    faults.set("empty_body")

    assert faulty_list(faults, "list") == "html"


def test_a_fault_with_first_ends_after_that_many_requests() -> None:
    faults = Faults()
    faults.set("html", first=2)

    assert [faulty_list(faults, "get") for _ in range(3)] == ["html", "html", ""]
    assert faults.active() == ()
    assert faults.hits == {"html": 2}


def test_setting_a_fault_again_replaces_it() -> None:
    faults = Faults()
    faults.set("html", first=2)
    faults.set("html", first=5)
    faults.set("html", route="get")

    assert [(fault.route, fault.first) for fault in faults.active()] == [("all", 5), ("get", None)]


def test_probabilities_are_reproducible() -> None:
    def draw(seed: int) -> list[str]:
        faults = Faults(seed)
        faults.set("html", probability=0.5)
        return [faulty_list(faults, "list") for _ in range(50)]

    assert draw(1) == draw(1) != draw(2)
    assert set(draw(1)) == {"html", ""}


def test_clearing_one_fault_leaves_the_others() -> None:
    faults = Faults()
    faults.set("html")
    faults.set("empty_body")
    faults.clear("html")

    assert [fault.name for fault in faults.active()] == ["empty_body"]
    faults.clear()
    assert faults.active() == ()


def test_connection_and_request_faults_are_separate() -> None:
    faults = Faults()
    faults.set("html")
    faults.set("tls_expired", first=1)
    [connection] = faults.connection_faults()

    assert faulty_list(faults, "list") == "html"
    assert faults.next_for_connection() == connection
    assert faults.next_for_connection() is None


def test_every_change_is_reported() -> None:
    counts = []
    faults = Faults(changed=lambda: counts.append(len(faults.active())))
    faults.set("html")
    faults.clear()

    assert counts == [1, 0]


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("gremlins", {}, "unknown fault 'gremlins'"),
        ("html", {"route": "nowhere"}, "unknown route 'nowhere'"),
        ("html", {"first": 0}, "first must be at least 1, not 0"),
        ("html", {"probability": 0.0}, "probability must be above 0 and at most 1, not 0.0"),
        ("html", {"probability": 1.5}, "probability must be above 0 and at most 1, not 1.5"),
        ("tls_expired", {"route": "list"}, "tls_expired affects connections"),
        ("tls_expired", {"session_id": "x"}, "tls_expired affects connections"),
        ("connection_refused", {"first": 1}, "connection_refused takes no first"),
        ("connection_refused", {"probability": 0.5}, "connection_refused takes no first"),
    ],
)
def test_invalid_arguments_are_rejected_with_their_value(
    name: str, options: dict[str, Any], message: str
) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=message):
        faults.set(name, **options)

    assert faults.active() == ()


def test_an_unknown_fault_cannot_be_cleared() -> None:
    with pytest.raises(ValueError, match="unknown fault 'gremlins'"):
        Faults().clear("gremlins")
