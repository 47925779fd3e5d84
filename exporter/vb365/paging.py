"""Paging through a collection of the API, guarded against endless paging and records that move."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TypeVar

from exporter.vb365.base_url import MAX_HREF_CHARACTERS, BaseUrl
from exporter.vb365.errors import BadResponseError, RecordsMovedError

ResultT = TypeVar("ResultT")

_PAGE_SIZE = 1000  # of sessions about 0.7 MB
_MAX_PAGE_SIZE = 10_000
PAGE_SIZES = (_PAGE_SIZE, _MAX_PAGE_SIZE, _MAX_PAGE_SIZE)
"""Records per page of a list, and of each repetition if records moved between pages.

Nothing moves within a page, so a list is read again with the largest pages of the API.
"""
_OVERLAPPING_RECORDS = 20
"""How many records at the end of a page are requested again, to detect that records moved between pages."""
MAX_PAGES = 10_000
MAX_LIST_SECONDS = 1800.0
"""How long all attempts to read a list may take together. Ten thousand slow pages could take days."""
_MAX_RESULTS = 100_000
"""More sessions than the largest accepted response body can hold."""
_MAX_LIMIT_DIGITS = 9
_MIN_PAGES_OF_OVERLAPS = 8
"""A page is at least this many times as long as its overlap, or the overlap is a single record."""
_OFFSET = re.compile(r"(?<=[?&]offset=)[0-9]{1,9}(?=&|$)", re.IGNORECASE)


def reread_if_moved(
    read: Callable[[int], ResultT], *, on_moved: Callable[[], None] = lambda: None
) -> ResultT:
    """Read a list, and again if records moved between its pages.

    Args:
        read: reads the list, with pages of this many records.
        on_moved: called before each repetition.

    Raises:
        RecordsMovedError: records moved at every attempt; some may be missing.
    """
    *page_sizes, last_page_size = PAGE_SIZES
    for page_size in page_sizes:
        try:
            return read(page_size)
        except RecordsMovedError:
            on_moved()
    return read(last_page_size)


def check_list_time(now: float, end_at: float) -> None:
    """Raise BadResponseError if a list takes too long: `end_at` is `MAX_LIST_SECONDS` after the first attempt began."""
    if now > end_at:
        raise BadResponseError(
            f"the list took longer than {MAX_LIST_SECONDS:g} s", operation="list"
        )


def iter_pages(
    fetch: Callable[[str], object],
    *,
    base_url: BaseUrl,
    path: str,
    query: Mapping[str, object],
    page_size: int,
    operation: str,
    max_pages: int = MAX_PAGES,
    max_results: int = _MAX_RESULTS,
    overlap: int = _OVERLAPPING_RECORDS,
) -> Iterator[list[object]]:
    """Yield the `results` of each page. A caller that clears them keeps nothing of a page but hashes while it pauses.

    Follow `_links.next.href` where a page has it. Otherwise request the next page by offset, unless the page holds fewer
    results than its own `limit`, which may be lower than the requested one: a full page may lack its link. A link without
    a usable `offset` is followed unchanged. If its `offset` does not count records, a page without a link is the last.

    Offsets shift when records are deleted or added while a list is read. Each page therefore begins with the last records
    of the previous one, which are not yielded again. If they are missing, records may have moved from an unread page to
    one already read. If there are more of them, records were added to a page already read. The list is then read again as
    far as it begins with records that the first page did not have; these are yielded at the end. New records are usually
    listed first.

    Args:
        fetch: returns the decoded response for a target.
        base_url: the URL of the API.
        path: the path of the collection.
        query: filters.
        page_size: the number of results to request per page.
        operation: named in errors.
        max_pages: more pages count as endless paging.
        max_results: a page with more results is a bad response.
        overlap: how many records of a page to request again with the next one; fewer if pages are small.

    Raises:
        RecordsMovedError: the pages do not overlap, or the list does not begin with as many new records as were added, so
            that records may be missing.
        BadResponseError: a page has the wrong shape or links to a malformed target, or the paging is endless.
        Vb365Error: `fetch` failed.
    """

    def target_at(offset: int) -> str:
        return base_url.target(path, {**query, "offset": offset, "limit": page_size})

    target = target_at(0)
    offset = repeated = added = 0
    counts_records = True  # whether `offset` is how many records precede the page
    requested: set[int] = set()  # hashes, as a link may be long
    previous: int | None = None
    previous_ids: list[int | None] = []
    first_ids: frozenset[int | None] = frozenset()
    while True:
        if hash(target) in requested:
            raise _endless("a page links back to an earlier one", operation)
        if len(requested) >= max_pages:
            raise _endless(f"more than {max_pages} pages", operation)
        requested.add(hash(target))
        page, results = _page(fetch(target), max_results, operation)
        ids = [_id(record) for record in results]
        count = len(results)
        content = None if any(ids) else hash(repr(results))
        first_ids = first_ids or frozenset(ids)
        if results and ids == previous_ids and content == previous:
            raise _endless("a page repeats the previous one", operation)
        known = _count_known(ids, previous_ids, repeated, operation) if repeated else 0
        added += max(0, known - repeated)
        href, limit = _next_href(page), _limit(page)
        del page, results[:known]
        yield results
        previous_ids, previous = ids, content
        repeated = min(overlap, max(1, count // _MIN_PAGES_OF_OVERLAPS), count - 1)
        if href is not None:
            if not count:
                raise _endless("an empty page links to a next one", operation)
            target = base_url.resolve_link(href, operation=operation)
            following = offset + count
            target, linked = _rewind(target, following, repeated)
            counts_records = linked == following
            repeated = 0 if linked is None else repeated
            offset = (following if linked is None else linked) - repeated
        elif not counts_records or count < limit:
            break
        else:
            offset += count - repeated
            target = target_at(offset)
    if added:
        yield from _iter_added(
            lambda offset: _page(fetch(target_at(offset)), max_results, operation)[1],
            added,
            first_ids,
            operation,
            max_pages,
        )


def _iter_added(
    fetch: Callable[[int], list[object]],
    added: int,
    known_ids: frozenset[int | None],
    operation: str,
    max_pages: int,
) -> Iterator[list[object]]:
    """Yield the unknown records with which a list begins, up to a page that has others, too.

    Raises:
        RecordsMovedError: there are fewer than were added.
        BadResponseError: more than `max_pages` pages have nothing else.
    """
    offset = 0
    for _ in range(max_pages):
        results = fetch(offset)
        count = len(results)
        results = [record for record in results if _id(record) not in known_ids]
        new = len(results)
        yield results
        added -= new
        offset += count
        if not new or new < count:
            break
    else:
        raise _endless(f"more than {max_pages} pages of new records", operation)
    if added > 0:
        raise _moved(operation)


def _count_known(
    ids: Sequence[int | None], previous_ids: Sequence[int | None], repeated: int, operation: str
) -> int:
    """Return how many records at the start of a page are from the previous page, in the same order.

    Usually it is `repeated`; fewer if records were deleted meanwhile, more if records were added. A record without a
    usable id is taken for a repeated one if it is where one is expected.

    Raises:
        RecordsMovedError: the page does not begin with such a record, has only such records although more were
            expected, or has others that are not in the same order.
    """
    known = place = 0
    for key in ids:
        if key is None and known >= repeated:
            break
        if key is not None:
            try:
                place = previous_ids.index(key, place) + 1  # a record may be there twice
            except ValueError:
                break
        known += 1
    others = set(ids[known:]).difference(ids[:known], [None])
    if not known or known == len(ids) > repeated or not others.isdisjoint(previous_ids):
        raise _moved(operation)
    return known


def _rewind(target: str, following: int, records: int) -> tuple[str, int | None]:
    """Return the target of a link with its offset reduced by `records`, and the offset that it had.

    If the target has no offset, or one below the number of records before the next page (`following`), which may count
    pages, return it unchanged, and None as its offset.
    """
    match = _OFFSET.search(target)
    if match is None or int(match[0]) < following:
        return target, None
    linked = int(match[0])
    return f"{target[: match.start()]}{linked - records}{target[match.end() :]}", linked


def _moved(operation: str) -> RecordsMovedError:
    return RecordsMovedError(
        "records moved between pages while the list was read", operation=operation
    )


def _endless(evidence: str, operation: str) -> BadResponseError:
    return BadResponseError(f"endless paging: {evidence}", operation=operation)


def _page(
    document: object, max_results: int, operation: str
) -> tuple[Mapping[object, object], list[object]]:
    page = document if isinstance(document, dict) else {}
    results = page.get("results")
    if not isinstance(results, list):
        raise BadResponseError("a page has no results", operation=operation)
    if len(results) > max_results:
        raise BadResponseError(f"a page has more than {max_results} results", operation=operation)
    return page, results


def _id(record: object) -> int | None:
    """Return the hash of a record's id, as an id may be long."""
    key = record.get("id") if isinstance(record, dict) else None
    return hash(key) if isinstance(key, str) else None


def _next_href(page: Mapping[object, object]) -> str | None:
    """Return the link to the next page; shortened, or empty, if it is malformed anyway."""
    links = page.get("_links")
    link = links.get("next") if isinstance(links, dict) else None
    href = link.get("href") if isinstance(link, dict) else link
    if isinstance(href, str):
        return href[: MAX_HREF_CHARACTERS + 1]
    return None if href is None or not isinstance(link, dict) else ""


def _limit(page: Mapping[object, object]) -> int:
    """Return the `limit` of a page; 1 if it has no usable one, so that only an empty page ends the paging."""
    limit = page.get("limit")
    if isinstance(limit, str) and len(limit) <= _MAX_LIMIT_DIGITS and limit.isdecimal():
        limit = int(limit)
    return limit if isinstance(limit, int) and limit > 0 else 1
