"""Reading a session's events in several goes."""

from __future__ import annotations

import gc
import json
import math
from collections.abc import Callable
from itertools import groupby
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import responses
from vb365.support import ID, TOKEN_RESPONSE, URL, FakeTime, config

from exporter.vb365.client import Client
from exporter.vb365.errors import BadResponseError, RecordsMovedError, RequestTimeoutError
from exporter.vb365.records.extras import EventSummary

EVENTS_URL = f"{URL}/v8/RestoreSessions/{ID}/Events"


MARK = "in an event"


class EventServer:
    """Serves the events of a session, each page after some seconds of a fake clock."""

    def __init__(
        self, time: FakeTime, api: responses.RequestsMock, *, pages: float, events: int = 100
    ) -> None:
        self.time = time
        self.pages = pages
        self.events = events
        self.seconds = 1.0
        self.requests = 0
        api.post(f"{URL}/v8/token", json=TOKEN_RESPONSE)
        api.add_callback("GET", EVENTS_URL, callback=self._answer, content_type="application/json")

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert request.url
        number = self.requests
        self.requests += 1
        self.time.now += self.seconds
        events = ",".join(
            f'{{"id": "{number}-{one}", "type": "View", "status": "Success", "x": ["{MARK}"]}}'
            for one in range(self.events)
        )
        link = f'{{"next": {{"href": "/v8/RestoreSessions/{ID}/Events?offset={number + 1}"}}}}'
        links = link if self.requests < self.pages else "{}"
        return (
            200,
            {},
            f'{{"limit": {self.events}, "results": [{events}], "_links": {links}}}',
        )


MakeClient = Callable[..., Client]


@pytest.fixture
def client(make_client: MakeClient) -> Client:
    return make_client(config(api_version="v8"))


def test_reading_pauses_while_time_is_left_for_a_page_and_goes_on_where_it_was(
    api: responses.RequestsMock, client: Client, fake_time: FakeTime
) -> None:
    server = EventServer(fake_time, api, pages=13)
    reader = client.events(ID)

    totals = []
    for _ in range(3):
        summary = reader.read(fake_time.now + 8.0)
        totals.append((server.requests, summary and sum(summary.counts.values())))

    assert totals == [(6, None), (12, None), (13, 1300)]


def test_no_event_is_kept_while_reading_pauses(
    api: responses.RequestsMock, client: Client, fake_time: FakeTime
) -> None:
    server = EventServer(fake_time, api, pages=13)
    reader = client.events(ID)

    assert reader.read(fake_time.now + 5) is None
    kept = [each for each in gc.get_objects() if isinstance(each, list) and each == [MARK]]

    assert server.requests > 1
    assert kept == []


def test_a_request_that_there_is_no_time_for_is_not_begun(
    api: responses.RequestsMock, client: Client, fake_time: FakeTime
) -> None:
    server = EventServer(fake_time, api, pages=13)
    reader = client.events(ID)
    reader.read(fake_time.now + 3.0)
    sent = server.requests

    assert reader.read(fake_time.now + 0.9) is None
    assert server.requests == sent
    assert client.events(ID).read(fake_time.now) is None
    with pytest.raises(RequestTimeoutError, match="no time is left"):
        client.statistics(ID, until=fake_time.now)


def test_endless_events_end_as_a_bad_response(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    server = EventServer(fake_time, api, pages=math.inf)
    client = make_client(config(api_version="v8"), max_event_pages=20)

    with pytest.raises(BadResponseError, match="endless paging: more than 20 pages"):
        client.events(ID).read(math.inf)

    assert server.requests == 20


@pytest.mark.parametrize(
    ("events", "error"),
    [(1000, "more than 10000 events"), (10_001, "a page has more than 10000 results")],
)
def test_a_server_that_ignores_the_limit_makes_no_more_events_readable(
    api: responses.RequestsMock,
    make_client: MakeClient,
    fake_time: FakeTime,
    events: int,
    error: str,
) -> None:
    EventServer(fake_time, api, pages=math.inf, events=events)
    client = make_client(config(api_version="v8"), max_event_pages=20)

    with pytest.raises(BadResponseError, match=error):
        client.events(ID).read(math.inf)


def test_a_reader_that_is_at_its_end_reads_no_further(
    api: responses.RequestsMock, client: Client, fake_time: FakeTime
) -> None:
    EventServer(fake_time, api, pages=2)
    reader = client.events(ID)
    reader.read(math.inf)

    with pytest.raises(RuntimeError, match="no events are left to read"):
        reader.read(math.inf)


def test_a_reader_that_has_failed_does_not_return_the_totals_so_far(
    api: responses.RequestsMock, make_client: MakeClient, fake_time: FakeTime
) -> None:
    EventServer(fake_time, api, pages=math.inf)
    reader = make_client(config(api_version="v8"), max_event_pages=2).events(ID)
    with pytest.raises(BadResponseError):
        reader.read(math.inf)

    with pytest.raises(RuntimeError, match="no events are left to read"):
        reader.read(math.inf)


class ChangingEvents:
    """Serves events by offset, from a list that `change` changes before each page but the first."""

    def __init__(
        self,
        api: responses.RequestsMock,
        *,
        count: int,
        change: Callable[[list[int]], None],
        cap: int = 10_000,
    ) -> None:
        self.numbers = list(range(count))
        self.change = change
        self.cap = cap
        self.limits: list[int] = []
        api.post(f"{URL}/v8/token", json=TOKEN_RESPONSE)
        api.add_callback("GET", EVENTS_URL, callback=self._answer, content_type="application/json")

    def _answer(self, request: requests.PreparedRequest) -> tuple[int, dict[str, str], str]:
        assert request.url
        query = parse_qs(urlsplit(request.url).query)
        offset, limit = int(query["offset"][0]), int(query["limit"][0])
        self.limits.append(limit)
        limit = min(limit, self.cap)
        if offset:
            self.change(self.numbers)
        results = [
            {"id": str(number), "type": "View", "status": "Success", "itemSizeBytes": 1}
            for number in self.numbers[offset : offset + limit]
        ]
        return 200, {}, json.dumps({"offset": offset, "limit": limit, "results": results})


def swap(one: int, other: int, *, times: float) -> Callable[[list[int]], None]:
    swaps = 0

    def change(numbers: list[int]) -> None:
        nonlocal swaps
        if swaps < times:
            numbers[one], numbers[other] = numbers[other], numbers[one]
        swaps += 1

    return change


def number_of_events(summary: EventSummary | None) -> int:
    assert summary
    return sum(summary.counts.values())


@pytest.mark.parametrize("places", [(499, 500), (3, 690), (3, 1200)])
def test_events_that_swap_places_between_two_requests_are_all_counted(
    api: responses.RequestsMock, client: Client, places: tuple[int, int]
) -> None:
    server = ChangingEvents(api, count=1300, change=swap(*places, times=1))

    assert number_of_events(client.events(ID).read(math.inf)) == 1300
    assert server.limits[-1] == 2000


def test_events_that_move_at_every_attempt_are_an_error(
    api: responses.RequestsMock, client: Client
) -> None:
    server = ChangingEvents(api, count=100, cap=30, change=swap(3, 95, times=math.inf))

    with pytest.raises(RecordsMovedError, match=r"^events: "):
        client.events(ID).read(math.inf)
    assert [limit for limit, _ in groupby(server.limits)] == [500, 2000]


def test_events_that_are_logged_meanwhile_are_counted_once_without_another_attempt(
    api: responses.RequestsMock, client: Client
) -> None:
    server = ChangingEvents(api, count=1300, change=lambda numbers: numbers.insert(0, len(numbers)))

    assert number_of_events(client.events(ID).read(math.inf)) == 1302
    assert server.limits == [500] * 4
