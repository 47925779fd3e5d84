from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest

from exporter.vb365.errors import BadResponseError
from exporter.vb365.paging import BaseUrl, iter_pages

BASE_URL = BaseUrl.of("https://hq.example.com:4443")
BEHIND_PROXY = BaseUrl.of("https://hq.example.com/veeam/")


def records(count: int, start: int = 0) -> list[dict[str, object]]:
    return [{"id": f"id-{number}"} for number in range(start, start + count)]


class Collection:
    """A collection of the API that pages by offset or by link."""

    def __init__(self, size: int, *, cap: int = 10_000, links: bool = False) -> None:
        self.records = records(size)
        self.cap = cap
        self.links = links
        self.requested: list[str] = []

    def __call__(self, target: str) -> object:
        """Return the page of a target."""
        self.requested.append(target)
        query = {name: values[0] for name, values in parse_qs(urlsplit(target).query).items()}
        offset, limit = int(query["offset"]), min(int(query["limit"]), self.cap)
        links = {"self": {"href": target}}
        if self.links and offset + limit < len(self.records):
            links["next"] = {"href": f"/v6/restoresessions?offset={offset + limit}&limit={limit}"}
        results = self.records[offset : offset + limit]
        return {"offset": offset, "limit": limit, "_links": links, "results": results}


def all_records(fetch: object, *, page_size: int = 10, max_pages: int = 100) -> list[object]:
    assert callable(fetch)
    pages = iter_pages(
        fetch,
        base_url=BASE_URL,
        path="v6/RestoreSessions",
        query={"startTimeFrom": "x"},
        page_size=page_size,
        operation="list",
        max_pages=max_pages,
    )
    return [record for page in pages for record in page]


@pytest.mark.parametrize("links", [True, False])
@pytest.mark.parametrize("cap", [3, 10, 10_000])
@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 30])
def test_every_record_is_found_once(size: int, cap: int, links: bool) -> None:  # noqa: FBT001 - a parameter
    collection = Collection(size, cap=cap, links=links)
    assert all_records(collection) == collection.records


def test_by_offset_the_filters_stay_and_the_offset_grows_by_the_number_of_results() -> None:
    collection = Collection(7, cap=3)
    all_records(collection)
    assert collection.requested == [
        f"/v6/RestoreSessions?startTimeFrom=x&offset={offset}&limit=10" for offset in (0, 3, 6)
    ]


def test_links_are_followed_unchanged() -> None:
    collection = Collection(20, links=True)
    all_records(collection)
    assert collection.requested[1:] == ["/v6/restoresessions?offset=10&limit=10"]


def test_after_links_a_full_page_without_one_is_the_last() -> None:
    collection = Collection(20, links=True)
    all_records(collection)
    assert len(collection.requested) == 2


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
    with pytest.raises(
        BadResponseError, match=r"^list: endless paging: a page repeats the previous one$"
    ):
        all_records(lambda _target: {"results": records(10), "limit": 10})


def test_more_pages_than_the_guard_allows_are_endless_paging() -> None:
    hrefs = [f"/v6/{number}" for number in range(10)]
    with pytest.raises(BadResponseError, match=r"^list: endless paging: more than 4 pages$"):
        all_records(linked(*hrefs), max_pages=4)
    with pytest.raises(BadResponseError, match=r"^list: endless paging: more than 4 pages$"):
        all_records(Collection(40), max_pages=4)


def test_as_many_pages_as_the_guard_allows_are_read() -> None:
    assert len(all_records(Collection(39), max_pages=4)) == 39
    assert len(all_records(Collection(40, links=True), max_pages=4)) == 40


def test_a_page_that_repeats_an_earlier_one_but_the_previous_is_read() -> None:
    pages = iter([records(1), records(1, 1), records(1), []])
    assert len(all_records(lambda _target: {"results": next(pages), "limit": 1})) == 3


@pytest.mark.parametrize(
    ("url", "origin", "target"),
    [
        ("https://hq.example.com:4443", "https://hq.example.com:4443", "/v6/x?a=1&b=%2B"),
        ("https://hq.example.com:4443/", "https://hq.example.com:4443", "/v6/x?a=1&b=%2B"),
        ("https://hq.example.com/veeam/", "https://hq.example.com", "/veeam/v6/x?a=1&b=%2B"),
        ("https://hq.example.com/X/veeamX//", "https://hq.example.com", "/X/veeamX/v6/x?a=1&b=%2B"),
    ],
)
def test_targets_are_below_the_configured_url(url: str, origin: str, target: str) -> None:
    base_url = BaseUrl.of(url)
    assert base_url.origin == origin
    assert base_url.target("v6/x", {"a": 1, "b": "+"}) == target
    assert base_url.target("v6/x") == target.partition("?")[0]


@pytest.mark.parametrize(
    ("base_url", "href", "target"),
    [
        (
            BASE_URL,
            "/v6/restoresessions?offset=30&limit=30",
            "/v6/restoresessions?offset=30&limit=30",
        ),
        (BASE_URL, "v6/restoresessions/x", "/v6/restoresessions/x"),
        (BASE_URL, "https://hq.example.com:4443/v6/x?y=1", "/v6/x?y=1"),
        (BASE_URL, "https://HQ.example.com:4443/v6/x", "/v6/x"),
        (BASE_URL, "https://hq.example.com:4443", "/"),
        (BASE_URL, "/v6/x?a=1#part", "/v6/x?a=1"),
        (BASE_URL, "//hq.example.com:4443/v6/x", "/v6/x"),
        (BASE_URL, "/" + "x" * 8191, "/" + "x" * 8191),
        (BASE_URL, "https://hq.example.com:4443?y=1", "/?y=1"),
        (BEHIND_PROXY, "/v6/x", "/veeam/v6/x"),
        (BEHIND_PROXY, "v6/x", "/veeam/v6/x"),
        (BEHIND_PROXY, "/veeam-archive/x", "/veeam/veeam-archive/x"),
        (BEHIND_PROXY, "/Veeam/v6/x", "/Veeam/v6/x"),
        (BEHIND_PROXY, "https://hq.example.com:443/veeam/v6/x", "/veeam/v6/x"),
    ],
)
def test_a_link_on_the_same_server_is_taken(base_url: BaseUrl, href: str, target: str) -> None:
    assert base_url.resolve_link(href, operation="list") == target


@pytest.mark.parametrize(
    "href",
    [
        "https://evil.example.com/v6/x",
        "//evil.example.com/v6/x",
        "///evil.example.com/v6/x"[1:],
        "http://hq.example.com:4443/v6/x",
        "https:/v6/x",
        "https://hq.example.com/v6/x",
        "https://hq.example.com:4444/v6/x",
        "https://hq.example.com:4443@evil.example.com/v6/x",
        "https://user@hq.example.com:4443/v6/x",
        "javascript:alert(1)",
    ],
)
def test_a_link_to_another_server_is_a_bad_response(href: str) -> None:
    with pytest.raises(
        BadResponseError,
        match=r"^list: the link to the next page leads to another server$",
    ):
        all_records(linked(href))


@pytest.mark.parametrize(
    "href",
    [
        "https://hq.example.com:99999/v6/x",
        "https://hq.example.com:4443.evil.example.com/",
        "https://[::1/v6/x",
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
