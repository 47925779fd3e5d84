"""The bounds of a full list that a command reads, and what is kept of it."""

from __future__ import annotations

from itertools import chain, repeat

import pytest

from exporter.polling.full_list import FullList, read_full_list
from exporter.vb365.errors import BadResponseError, RecordsMovedError
from exporter.vb365.records.fields import RejectionReason
from exporter.vb365.records.restore_session import Page, Rejection
from support.listing_client import ListingClient, long_texts, page_of
from support.sample_sessions import finished, running

WRONG_TYPE = Rejection(reason=RejectionReason.WRONG_TYPE)
MISSING = Rejection(reason=RejectionReason.MISSING_FIELD)


def test_all_sessions_are_counted_and_those_that_are_kept_are_listed_once() -> None:
    listed = FullList(keep=lambda session: session if session.stopped else None)

    listed.add(page_of(finished(1), running(2)))
    listed.add(page_of(finished(1), finished(3)))

    assert (listed.listed, listed.sessions) == (3, [finished(1), finished(3)])


def test_without_a_choice_all_sessions_are_kept() -> None:
    listed = FullList()

    listed.add(page_of(finished(1), running(2)))

    assert listed.sessions == [finished(1), running(2)]


def test_rejected_records_are_counted_by_reason() -> None:
    listed = FullList()

    for rejections in ((WRONG_TYPE, MISSING), (WRONG_TYPE,)):
        listed.add(Page(sessions=(), rejections=rejections))

    assert listed.rejected == {WRONG_TYPE.reason: 2, MISSING.reason: 1}


def test_a_list_of_more_than_a_million_records_is_a_bad_response() -> None:
    listed = FullList()
    listed.add(Page(sessions=(running(1),), rejections=(WRONG_TYPE,) * 999_999))

    with pytest.raises(BadResponseError, match=r"^list: more than 1000000 sessions$"):
        listed.add(page_of(running(2)))


def test_a_list_whose_texts_would_exhaust_the_memory_is_a_bad_response() -> None:
    client = ListingClient(long_texts()).client

    with pytest.raises(BadResponseError, match=r"^list: the texts of its sessions are too long$"):
        read_full_list(client, FullList)


def test_the_texts_of_sessions_that_are_not_kept_take_no_memory() -> None:
    client = ListingClient(long_texts()).client

    listed = read_full_list(client, lambda: FullList(keep=lambda _session: None))

    assert (listed.listed, listed.sessions) == (1000, [])


def test_a_list_whose_sessions_moved_is_read_again_from_the_start_with_the_largest_pages() -> None:
    moved = RecordsMovedError("records moved", operation="list")
    server = ListingClient([page_of(running(1)), moved], [page_of(running(2)), page_of(running(3))])

    listed = read_full_list(server.client, FullList)

    assert listed.sessions == [running(2), running(3)]
    assert server.requests == [(None, 1000), (None, 10_000)]


def test_an_empty_list_is_read_again() -> None:
    server = ListingClient([page_of()], [page_of(running(1))])

    assert read_full_list(server.client, FullList).sessions == [running(1)]


def test_a_list_is_empty_if_it_is_so_twice() -> None:
    server = ListingClient([page_of()], [page_of()], [page_of(running(1))])

    assert read_full_list(server.client, FullList).sessions == []


def test_a_list_without_a_readable_record_is_not_read_again() -> None:
    unreadable = Page(sessions=(), rejections=(WRONG_TYPE,))
    server = ListingClient([unreadable], [page_of(running(1))])

    assert read_full_list(server.client, FullList).rejected == {WRONG_TYPE.reason: 1}


def test_a_list_that_shows_a_session_on_two_pages_is_read_again() -> None:
    first, second, third = (page_of(running(number), finished(number + 10)) for number in (1, 2, 3))
    moved = [first, second, page_of(running(2), running(4))]

    listed = read_full_list(ListingClient(moved, [first, second, third]).client, FullList)

    assert listed.listed == 6
    with pytest.raises(RecordsMovedError, match=r"^list: records are on two pages of the list$"):
        read_full_list(ListingClient(moved).client, FullList)


def test_a_list_may_take_half_an_hour_and_no_longer() -> None:
    def read(end: float) -> FullList:
        clock = chain([100.0, 1000.0], repeat(end)).__next__
        pages = [page_of(running(1)), page_of(running(2))]
        return read_full_list(ListingClient(pages).client, FullList, clock=clock)

    assert read(1900.0).listed == 2
    with pytest.raises(BadResponseError, match=r"^list: the list took longer than 1800 s$"):
        read(1900.1)
