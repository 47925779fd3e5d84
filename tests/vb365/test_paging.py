from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import count
from random import Random
from urllib.parse import parse_qs, urlsplit

import pytest

from exporter.vb365.base_url import BaseUrl
from exporter.vb365.errors import BadResponseError, RecordsMovedError
from exporter.vb365.paging import iter_pages

BASE_URL = BaseUrl("https://hq.example.com:4443")
MOVED = r"^list: records moved between pages while the list was read$"


def records(count: int, start: int = 0) -> list[dict[str, object]]:
    return [{"id": f"id-{number}"} for number in range(start, start + count)]


class Collection:
    """A collection of the API that pages by offset or by link."""

    def __init__(self, size: int, *, cap: int = 10_000, links: bool = False) -> None:
        self.records = records(size)
        self.cap = cap
        self.links = links
        self.requested: list[str] = []

    def __call__(self, target: str) -> dict[str, object]:
        """Return the page of a target."""
        self.requested.append(target)
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        offset, limit = int(query["offset"]), min(int(query["limit"]), self.cap)
        links = {"self": {"href": target}}
        if self.links and offset + limit < len(self.records):
            links["next"] = {"href": f"/v6/restoresessions?offset={offset + limit}&limit={limit}"}
        results = self.records[offset : offset + limit]
        return {"offset": offset, "limit": limit, "_links": links, "results": results}


def all_records(
    fetch: object, *, page_size: int = 10, max_pages: int = 100, overlap: int = 0
) -> list[object]:
    assert callable(fetch)
    pages = iter_pages(
        fetch,
        base_url=BASE_URL,
        path="v6/RestoreSessions",
        query={"startTimeFrom": "x"},
        page_size=page_size,
        operation="list",
        max_pages=max_pages,
        overlap=overlap,
    )
    return [record for page in pages for record in page]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("cap", [1, 3, 10, 10_000])
@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
@pytest.mark.parametrize("overlap", [0, 1, 20])
def test_every_record_is_found_once(size: int, cap: int, links: bool, overlap: int) -> None:  # noqa: FBT001 - a parameter
    collection = Collection(size, cap=cap, links=links)
    assert all_records(collection, overlap=overlap) == collection.records


@pytest.mark.parametrize("cap", [20, 21, 11])
def test_a_limit_that_falls_during_the_list_loses_no_record(cap: int) -> None:
    collection = Collection(500, cap=200)

    def fetch(target: str) -> object:
        page = collection(target)
        collection.cap = cap
        return page

    found = all_records(fetch, page_size=1000, overlap=20)
    assert {str(record) for record in found} == {str(record) for record in collection.records}


@pytest.mark.parametrize("cap", [20, 3, 1])
def test_pages_without_a_usable_limit_that_become_short_lose_no_record(cap: int) -> None:
    collection = Collection(500, cap=200)

    def fetch(target: str) -> object:
        page = collection(target)
        collection.cap = cap
        return {"results": page["results"]}

    found = all_records(fetch, page_size=1000, max_pages=1000, overlap=20)
    assert {str(record) for record in found} == {str(record) for record in collection.records}


def test_by_offset_the_filters_stay_and_the_offset_grows_by_the_number_of_results() -> None:
    collection = Collection(7, cap=3)
    all_records(collection)
    assert collection.requested == [
        f"/v6/RestoreSessions?startTimeFrom=x&offset={offset}&limit=10" for offset in (0, 3, 6)
    ]


def test_links_are_followed_unchanged() -> None:
    collection = Collection(19, links=True)
    all_records(collection)
    assert collection.requested[1:] == ["/v6/restoresessions?offset=10&limit=10"]


def test_after_links_a_page_that_is_not_full_is_the_last() -> None:
    collection = Collection(19, links=True)
    all_records(collection)
    assert len(collection.requested) == 2


def test_after_links_a_full_page_without_one_is_the_last_if_the_next_offset_shows_nothing_new() -> (
    None
):
    collection = Collection(20, links=True)
    assert all_records(collection) == collection.records
    assert collection.requested[2:] == ["/v6/RestoreSessions?startTimeFrom=x&offset=20&limit=10"]


def test_after_a_link_whose_offset_counts_pages_a_full_page_without_one_is_the_last() -> None:
    requested = []

    def fetch(target: str) -> object:
        requested.append(target)
        first = len(requested) == 1
        links = {"next": {"href": "/v6/x?offset=1"}} if first else {}
        return {"results": records(30, 0 if first else 30), "limit": 30, "_links": links}

    assert len(all_records(fetch, page_size=30)) == 60
    assert requested[1:] == ["/v6/x?offset=1"]


@pytest.mark.parametrize("overlap", [0, 2])
@pytest.mark.parametrize("without_link", [1, 2, 3])
def test_records_behind_a_full_page_that_lacks_its_link_are_found(
    without_link: int, overlap: int
) -> None:
    collection = Collection(95, links=True)

    def fetch(target: str) -> object:
        page = collection(target)
        assert isinstance(page, dict)
        return {**page, "_links": {}} if len(collection.requested) == without_link else page

    assert all_records(fetch, page_size=20, overlap=overlap) == collection.records


def test_after_a_link_that_skips_offsets_those_of_the_following_links_count_from_there() -> None:
    hrefs = {0: "/v6/x?offset=15", 15: "/v6/x?offset=25"}

    def fetch(target: str) -> object:
        offset = int(parse_qs(urlsplit(target).query)["offset"][0])
        links = {"next": {"href": hrefs[offset]}} if offset in hrefs else {}
        results = records(10, offset) if offset < 40 else []
        return {"results": results, "limit": 10, "_links": links}

    assert all_records(fetch) == [*records(10), *records(30, 15)]


@pytest.mark.parametrize("limit", [3, "3", "000000003"])
def test_a_limit_may_be_a_string(limit: object) -> None:
    pages = iter(
        [{"results": records(3), "limit": limit}, {"results": records(1, 3), "limit": limit}]
    )
    assert len(all_records(lambda _target: next(pages))) == 4


@pytest.mark.parametrize("limit", [None, 0, -1, True, "many", 2.5, [], "0000000009", "9" * 5000])
def test_a_page_without_a_usable_limit_is_followed_until_one_is_empty(limit: object) -> None:
    pages_of_results = iter([records(3), records(3, 3), []])
    pages = ({"results": results, "limit": limit} for results in pages_of_results)
    assert len(all_records(lambda _target: next(pages))) == 6


def test_without_a_limit_a_page_of_one_record_is_not_the_last() -> None:
    pages = iter([records(1), records(1, 1), []])
    assert len(all_records(lambda _target: {"results": next(pages)})) == 2


@pytest.mark.parametrize("page", [[], None, "x", {}, {"results": None}, {"results": {}}])
def test_a_page_without_results_is_a_bad_response(page: object) -> None:
    with pytest.raises(BadResponseError, match=r"^list: a page has no results$"):
        all_records(lambda _target: page)


def test_a_page_of_more_than_100000_results_is_a_bad_response() -> None:
    assert (
        len(all_records(lambda _target: {"results": [None] * 100_000, "limit": 100_001})) == 100_000
    )
    with pytest.raises(BadResponseError, match=r"^list: a page has more than 100000 results$"):
        all_records(lambda _target: {"results": [None] * 100_001, "limit": 100_002})


@pytest.mark.parametrize(
    "links", [None, [], {"next": None}, {"next": []}, {"next": {}}, {"next": {"href": None}}]
)
def test_links_of_another_shape_are_no_links(links: object) -> None:
    assert (
        len(all_records(lambda _target: {"results": records(2), "limit": 10, "_links": links})) == 2
    )


def test_records_need_no_id() -> None:
    pages = iter(
        [
            {"results": [{"name": "a"}], "limit": 1},
            {"results": [{"name": "b"}], "limit": 1},
            {"results": [], "limit": 1},
        ]
    )

    assert all_records(lambda _target: next(pages)) == [{"name": "a"}, {"name": "b"}]


class Record(dict[str, object]):
    """A record that can be referred to weakly."""


@pytest.mark.parametrize("has_ids", [True, False])
@pytest.mark.parametrize("added", [0, 1])
def test_nothing_of_a_page_is_kept_that_the_caller_has_cleared(has_ids: bool, added: int) -> None:  # noqa: FBT001 - a parameter
    kept: list[weakref.ref[Record]] = []

    def fetch(target: str) -> object:
        offset = int(parse_qs(urlsplit(target).query)["offset"][0])
        first = 0 if kept else added  # the others are inserted before it after the first page
        rows = [
            Record(id=f"{row}") if has_ids else Record(name=f"{row}") for row in range(first, 9)
        ]
        results = rows[offset : offset + 4]
        page = Record(results=results, limit=4)
        kept.extend(map(weakref.ref, [page, *results]))
        return page

    alive = []
    for page in iter_pages(
        fetch,
        base_url=BASE_URL,
        path="v6/RestoreSessions",
        query={},
        page_size=4,
        operation="list",
    ):
        page.clear()
        alive.append(sum(each() is not None for each in kept))

    assert len(alive) >= 3
    assert set(alive) == {0}


def test_a_link_may_be_a_string() -> None:
    pages = iter(
        [
            {"results": records(2), "limit": 10, "_links": {"next": "/v6/x?offset=2"}},
            {"results": records(2, start=2), "limit": 10},
        ]
    )

    assert len(all_records(lambda _target: next(pages))) == 4


def linked(*hrefs: object, size: int = 1) -> object:
    numbers = iter(range(1000))
    return lambda _target: {
        "results": records(size, start=size * (number := next(numbers))),
        "limit": 1,
        "_links": {"next": {"href": hrefs[min(number, len(hrefs) - 1)]}},
    }


def test_a_link_that_leads_back_is_endless_paging() -> None:
    with pytest.raises(
        BadResponseError, match=r"^list: endless paging: a page links back to an earlier one$"
    ):
        all_records(linked("/v6/a", "/v6/b", "/v6/a"))


def test_an_empty_page_that_links_to_a_next_one_is_endless_paging() -> None:
    with pytest.raises(
        BadResponseError, match=r"^list: endless paging: an empty page links to a next one$"
    ):
        all_records(linked("/v6/a", "/v6/b", size=0))


def test_a_server_that_ignores_the_offset_is_endless_paging() -> None:
    numbers = count()
    pages_of_results: list[Callable[[], object]] = [
        lambda: records(10),
        lambda: [{"id": "id-1", "progress": next(numbers)}],
        lambda: [{"name": "a"}],
    ]
    for results in pages_of_results:
        with pytest.raises(
            BadResponseError, match=r"^list: endless paging: a page repeats the previous one$"
        ):
            all_records(lambda _target, results=results: {"results": results(), "limit": 1})


def test_more_pages_than_the_guard_allows_are_endless_paging() -> None:
    hrefs = [f"/v6/{number}" for number in range(10)]
    with pytest.raises(BadResponseError, match=r"^list: endless paging: more than 4 pages$"):
        all_records(linked(*hrefs), max_pages=4)
    with pytest.raises(BadResponseError, match=r"^list: endless paging: more than 4 pages$"):
        all_records(Collection(40), max_pages=4)


def test_as_many_pages_as_the_guard_allows_are_read() -> None:
    assert len(all_records(Collection(39), max_pages=4)) == 39
    assert len(all_records(Collection(39, links=True), max_pages=4)) == 39


def test_a_page_that_repeats_an_earlier_one_but_the_previous_is_read() -> None:
    pages = iter([records(1), records(1, 1), records(1), []])
    assert len(all_records(lambda _target: {"results": next(pages), "limit": 1})) == 3


# Records that move while the list is read


class ChangingCollection(Collection):
    """A collection that changes while it is read.

    Args:
        size: how many records it has.
        links: whether it pages by link.
        change: the change.
        after: how many pages are read before the change.
    """

    def __init__(
        self,
        size: int,
        *,
        links: bool,
        change: Callable[[list[dict[str, object]]], object],
        after: int = 1,
    ) -> None:
        super().__init__(size, links=links)
        self._change = change
        self._after = after

    def __call__(self, target: str) -> dict[str, object]:
        page = super().__call__(target)
        if len(self.requested) == self._after:
            self._change(self.records)
        return page


LINKS = pytest.mark.parametrize("links", [True, False])


def found_ids(records: list[object]) -> set[object]:
    return {record["id"] for record in records if isinstance(record, dict)}


def test_pages_overlap_by_the_records_asked_for() -> None:
    collection = Collection(500)
    all_records(collection, page_size=200, overlap=20)
    assert [urlsplit(target).query for target in collection.requested] == [
        f"startTimeFrom=x&offset={offset}&limit=200" for offset in (0, 180, 360)
    ]


def test_pages_overlap_by_20_records_if_the_caller_does_not_say_by_how_many() -> None:
    collection = Collection(500)
    pages = iter_pages(
        collection,
        base_url=BASE_URL,
        path="v6/Organizations",
        query={},
        page_size=200,
        operation="organizations",
    )
    assert [record for page in pages for record in page] == collection.records
    assert [urlsplit(target).query for target in collection.requested] == [
        f"offset={offset}&limit=200" for offset in (0, 180, 360)
    ]


def test_a_link_is_followed_with_its_offset_reduced_by_the_overlap() -> None:
    collection = Collection(500, cap=200, links=True)
    all_records(collection, page_size=200, overlap=20)
    assert collection.requested[1:] == [
        f"/v6/restoresessions?offset={offset}&limit=200" for offset in (180, 360)
    ]


@pytest.mark.parametrize(
    "href",
    ["/v6/x?page=2", "/v6/x?offset=", "/v6/x?offset=many", "/v6/x?offset=3", "/v6/x?xoffset=90"],
)
def test_a_link_without_a_usable_offset_is_followed_unchanged(href: str) -> None:
    requested = []

    def fetch(target: str) -> object:
        requested.append(target)
        first = len(requested) == 1
        links = {"next": {"href": href}} if first else {}
        return {"results": records(30, 0 if first else 30), "limit": 30, "_links": links}

    assert len(all_records(fetch, page_size=30, overlap=3)) == 60
    assert requested[1:] == [href]


def test_links_whose_offset_counts_pages_are_followed_unchanged_however_many_there_are() -> None:
    def fetch(target: str) -> object:
        number = int(parse_qs(urlsplit(target).query)["offset"][0])
        links = {"next": {"href": f"/v6/x?offset={number + 1}"}} if number < 59 else {}
        return {"results": records(30, 30 * number), "limit": 30, "_links": links}

    assert all_records(fetch, page_size=30, overlap=20) == records(1800)


@pytest.mark.parametrize("overlap", [2, 5])
def test_small_pages_overlap_by_an_eighth_or_one(overlap: int) -> None:
    for page_size, offset in ((2, 1), (8, 7), (16, 14)):
        collection = Collection(40)
        all_records(collection, page_size=page_size, overlap=overlap)
        assert f"offset={offset}&" in collection.requested[1]


@LINKS
@pytest.mark.parametrize("deleted", [1, 19])
def test_no_record_is_missed_when_others_are_deleted_before_it(links: bool, deleted: int) -> None:  # noqa: FBT001 - a parameter
    collection = ChangingCollection(
        400, links=links, change=lambda records: records.__delitem__(slice(5, 5 + deleted))
    )
    found = found_ids(all_records(collection, page_size=200, overlap=20))
    assert found == found_ids([*records(400)])


@LINKS
def test_no_record_is_missed_when_some_of_those_repeated_are_deleted(links: bool) -> None:  # noqa: FBT001 - a parameter
    collection = ChangingCollection(
        400, links=links, change=lambda records: records.__delitem__(slice(190, 210))
    )
    found = found_ids(all_records(collection, page_size=200, overlap=20))
    assert found == found_ids([*records(200), *records(190, 210)])


@LINKS
@pytest.mark.parametrize("deleted", [slice(0, 20), slice(180, 200), slice(10, 390)])
def test_so_many_deletions_that_records_may_be_missed_are_an_error(
    links: bool,  # noqa: FBT001 - a parameter
    deleted: slice,
) -> None:
    collection = ChangingCollection(
        400, links=links, change=lambda records: records.__delitem__(deleted)
    )
    with pytest.raises(RecordsMovedError, match=MOVED):
        all_records(collection, page_size=200, overlap=20)


@LINKS
def test_records_added_meanwhile_are_found_and_nothing_is_missed(links: bool) -> None:  # noqa: FBT001 - a parameter
    collection = ChangingCollection(
        400, links=links, change=lambda existing: existing.insert(0, *records(1, 400))
    )
    assert all_records(collection, page_size=200, overlap=20) == records(401)


def test_if_the_first_page_is_bad_when_it_is_read_again_the_error_names_the_list() -> None:
    collection = ChangingCollection(
        400, links=False, change=lambda existing: existing.insert(0, *records(1, 400))
    )

    def fetch(target: str) -> object:
        page = collection(target)
        return page if collection.requested.count(target) == 1 else {}

    with pytest.raises(BadResponseError, match=r"^list: a page has no results$"):
        all_records(fetch, page_size=200, overlap=20)


@LINKS
def test_a_record_that_moves_from_an_unread_page_to_a_read_one_is_found(links: bool) -> None:  # noqa: FBT001 - a parameter
    collection = ChangingCollection(
        400, links=links, change=lambda records: records.insert(3, records.pop(300))
    )
    found = found_ids(all_records(collection, page_size=200, overlap=20))
    assert found == found_ids([*records(400)])


@LINKS
@pytest.mark.parametrize("added", [0, 1])
def test_a_record_that_moves_to_a_read_page_but_the_first_is_an_error(
    links: bool,  # noqa: FBT001 - a parameter
    added: int,
) -> None:
    def change(existing: list[dict[str, object]]) -> None:
        existing.insert(250, existing.pop(500))
        existing[:0] = records(added, 600)

    collection = ChangingCollection(600, links=links, change=change, after=2)
    with pytest.raises(RecordsMovedError, match=MOVED):
        all_records(collection, page_size=200, overlap=20)


@LINKS
@pytest.mark.parametrize("added", [40, 50, 90])
def test_more_new_records_than_the_first_page_has_are_found(
    links: bool,  # noqa: FBT001 - a parameter
    added: int,
) -> None:
    new = records(added, 1000)
    steps = iter([new[start : start + 20] for start in reversed(range(0, added, 20))])

    class Busy(Collection):
        def __call__(self, target: str) -> dict[str, object]:
            page = super().__call__(target)
            self.records[:0] = next(steps, [])
            return page

    collection = Busy(200, links=links, cap=40)
    assert all_records(collection, overlap=5, page_size=40) == [*records(200), *new]


@LINKS
@pytest.mark.parametrize("deleted", [0, 1])
def test_a_record_that_moved_and_was_pushed_off_the_first_page_is_found(
    links: bool,  # noqa: FBT001 - a parameter
    deleted: int,
) -> None:
    collection = Collection(400, links=links, cap=40)
    new = records(40, 1000)

    def fetch(target: str) -> object:
        page, existing = collection(target), collection.records
        if len(collection.requested) == 2:
            existing[:0] = [*new[20:], existing.pop(300)]
        elif len(collection.requested) == 3:
            del existing[60 : 60 + deleted]
            existing[:0] = new[:20]
        return page

    found = found_ids(all_records(fetch, overlap=5, page_size=40))
    assert found >= found_ids([*collection.records])


def test_new_records_without_end_are_endless_paging() -> None:
    collection = Collection(30)
    numbers = count(1000, step=20)

    def fetch(target: str) -> object:
        page = collection(target)
        collection.records[:0] = records(1 if len(collection.requested) < 4 else 20, next(numbers))
        return page

    with pytest.raises(
        BadResponseError, match=r"^list: endless paging: more than 8 pages of new records$"
    ):
        all_records(fetch, overlap=1, max_pages=8)
    assert len(collection.requested) <= 2 * 8


@LINKS
def test_so_many_additions_that_a_page_shows_nothing_new_are_an_error(links: bool) -> None:  # noqa: FBT001 - a parameter
    added = records(190, 400)
    collection = ChangingCollection(
        400, links=links, change=lambda records: records.__setitem__(slice(0, 0), added)
    )
    with pytest.raises(RecordsMovedError, match=MOVED):
        all_records(collection, page_size=200, overlap=20)


@LINKS
def test_pages_in_different_orders_are_an_error(links: bool) -> None:  # noqa: FBT001 - a parameter
    collection = ChangingCollection(400, links=links, change=Random(1).shuffle)  # noqa: S311 - reproducible
    with pytest.raises(RecordsMovedError, match=MOVED):
        all_records(collection, page_size=200, overlap=20)


@pytest.mark.parametrize(
    "second_page",
    [
        pytest.param(records(5, 5), id="five known records where one is expected"),
        pytest.param([*records(1, 9), *records(9, 10), *records(1, 3)], id="a known one after new"),
        pytest.param(records(1, 10), id="a new one where a known one is expected"),
    ],
)
def test_a_page_that_does_not_continue_the_previous_one_is_an_error(
    second_page: list[dict[str, object]],
) -> None:
    pages = iter([records(10), second_page, second_page[-1:]])
    with pytest.raises(RecordsMovedError, match=MOVED):
        all_records(lambda _target: {"results": next(pages), "limit": 10}, overlap=1)


STRANGE: list[object] = [None, "x", {"id": 7}, {"id": ["y"]}]


@pytest.mark.parametrize(
    "everything",
    [
        pytest.param([*records(30), *STRANGE, *records(30, 30)], id="among those repeated"),
        pytest.param(["x", *records(40), "y", *records(30, 40)], id="before and after them"),
    ],
)
def test_records_without_a_usable_id_are_taken_for_repeated_where_these_are_expected(
    everything: list[object],
) -> None:

    def fetch(target: str) -> object:
        offset = int(parse_qs(urlsplit(target).query)["offset"][0])
        return {"results": everything[offset : offset + 32], "limit": 32}

    assert all_records(fetch, page_size=32, overlap=4) == everything


def test_a_record_twice_on_a_page_does_not_hide_another() -> None:
    collection = Collection(100)

    def fetch(target: str) -> object:
        page = collection(target)
        results = page["results"]
        assert isinstance(results, list)
        return {**page, "results": results + results[:1]}

    found = found_ids(all_records(fetch, page_size=40, overlap=5))
    assert found == found_ids([*collection.records])


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("times", [2, 3])
@pytest.mark.parametrize("place", range(30, 46))
def test_a_record_that_is_listed_several_times_in_a_row_is_no_move(
    place: int,
    times: int,
    links: bool,  # noqa: FBT001 - a parameter
) -> None:
    collection = Collection(100, links=links)
    repeated = collection.records[place]
    collection.records[place:place] = [repeated] * (times - 1)

    found = all_records(collection, page_size=40, overlap=5)

    assert found_ids(found) == found_ids([*collection.records])
    assert len(collection.requested) == 3


@pytest.mark.parametrize(
    "href",
    [
        "https://[::1/v6/x",
        "javascript:alert(1)",
        "ftp://hq.example.com/v6/x",
        "/\\evil.example.com/v6/x",
        "/v6/x\r\nX-Evil: 1",
        "/v6/a b",
        "/v6/ü",
        "",
        "/" + "x" * 8192,
        7,
        ["/v6/x"],
    ],
)
def test_a_malformed_link_is_a_bad_response(href: object) -> None:
    with pytest.raises(BadResponseError, match=r"^list: the link to the next page is malformed$"):
        all_records(linked(href))
