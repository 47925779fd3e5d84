from __future__ import annotations

import pytest
from vb365.support import ID, OTHER_ID

from exporter.vb365.errors import BadResponseError
from exporter.vb365.records.changes import ChangeKind, Changes, SessionChange, parse_changes


def update(session_id: object = ID, **more: object) -> dict[str, object]:
    return {"eventType": "RestoreSessionUpdate", "id": session_id, **more}


def answer(*results: object, token: object = "17") -> dict[str, object]:  # noqa: S107 - no secret
    return {"nextChangeToken": token, "limit": 1000, "results": list(results)}


def test_an_answer_tells_of_sessions_and_where_to_go_on() -> None:
    told = parse_changes(
        answer(update(eTag=3), {"eventType": "RestoreSessionDelete", "id": OTHER_ID.upper()})
    )

    assert (
        Changes(
            change_token="17",
            sessions=(
                SessionChange(kind=ChangeKind.UPDATE, session_id=ID, e_tag=3),
                SessionChange(kind=ChangeKind.DELETE, session_id=OTHER_ID),
            ),
        )
        == told
    )


def test_what_happened_to_other_resources_is_passed_over() -> None:
    told = parse_changes(answer({"eventType": "JobSessionUpdate", "id": ID}, update()))

    assert [change.session_id for change in told.sessions] == [ID]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "text",
        [],
        {},
        {"eventType": 7, "id": ID},
        update(None),
        update(7),
        update("no id"),
        update(eTag=[]),
    ],
)
def test_an_entry_that_cannot_be_read_does_not_spoil_the_others(entry: object) -> None:
    told = parse_changes(answer(entry, update()))

    assert [change.session_id for change in told.sessions] == [ID]


def test_a_position_may_be_a_number() -> None:
    assert parse_changes(answer(token=17)).change_token == "17"


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"results": []},
        {"nextChangeToken": "17"},
        {"nextChangeToken": "17", "results": {}},
        answer(token=None),
        answer(token=""),
        answer(token=True),
        answer(token="x" * 5000),
    ],
)
def test_what_is_no_answer_of_a_feed_is_a_bad_response(bad: object) -> None:
    with pytest.raises(BadResponseError):
        parse_changes(bad)
