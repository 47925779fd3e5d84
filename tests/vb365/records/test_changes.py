from __future__ import annotations

import pytest
from vb365.support import ID, OTHER_ID

from exporter.vb365.errors import BadResponseError
from exporter.vb365.records.changes import (
    ChangeKind,
    Changes,
    SessionChange,
    parse_changes,
)


def update(session_id: object = ID, **more: object) -> dict[str, object]:
    return {"eventType": "RestoreSessionUpdate", "id": session_id, **more}


def response(*results: object, token: object = "17") -> dict[str, object]:  # noqa: S107 - not a secret
    return {"nextChangeToken": token, "limit": 1000, "results": list(results)}


def test_a_response_has_changes_in_their_order_and_the_next_token() -> None:
    changes = parse_changes(
        response(update(eTag=3), {"eventType": "RestoreSessionDelete", "id": OTHER_ID.upper()})
    )

    assert changes == Changes(
        change_token="17",
        sessions=(
            SessionChange(kind=ChangeKind.UPDATE, session_id=ID, e_tag=3),
            SessionChange(kind=ChangeKind.DELETE, session_id=OTHER_ID),
        ),
    )


def test_events_of_other_resources_are_ignored() -> None:
    changes = parse_changes(response({"eventType": "JobSessionUpdate", "id": OTHER_ID}, update()))

    assert [change.session_id for change in changes.sessions] == [ID]


@pytest.mark.parametrize(
    "entry",
    [
        None,
        "text",
        [],
        {},
        {"id": OTHER_ID},
        {"eventType": 7, "id": OTHER_ID},
        {"eventType": "RestoreSessionUpdate"},
        update(None),
        update(7),
        update("no id"),
        update(eTag=[]),
    ],
)
def test_an_unreadable_event_does_not_hide_the_others(entry: object) -> None:
    changes = parse_changes(response(entry, update()))

    assert [change.session_id for change in changes.sessions] == [ID]


def test_a_response_of_up_to_5000_results_is_accepted() -> None:
    with pytest.raises(BadResponseError, match=r"^change_feed: .* more than 5000 results$"):
        parse_changes(response(*[None] * 5001))

    assert parse_changes(response(*[None] * 4999, update())).sessions[0].session_id == ID


@pytest.mark.parametrize("token", ["x", "x" * 4096])
def test_a_change_token_has_1_to_4096_characters(token: str) -> None:
    assert parse_changes(response(token=token)).change_token == token


def test_a_change_token_may_be_a_number() -> None:
    assert parse_changes(response(token=17)).change_token == "17"


@pytest.mark.parametrize(
    "bad", [{"nextChangeToken": "17"}, {"nextChangeToken": "17", "results": {}}]
)
def test_a_response_without_results_is_a_bad_response(bad: object) -> None:
    with pytest.raises(BadResponseError, match=r"^change_feed: the response has no results$"):
        parse_changes(bad)


@pytest.mark.parametrize(
    "bad",
    [
        None,
        [],
        {},
        {"results": []},
        response(token=None),
        response(token=""),
        response(token=True),
        response(token=1.5),
        response(token=["17"]),
        response(token="x" * 4097),
    ],
)
def test_a_response_without_a_change_token_is_a_bad_response(bad: object) -> None:
    with pytest.raises(
        BadResponseError, match=r"^change_feed: the response has no nextChangeToken$"
    ):
        parse_changes(bad)
