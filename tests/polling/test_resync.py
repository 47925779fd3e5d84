"""What lists prove about the stored sessions."""

from __future__ import annotations

from datetime import timedelta

from exporter.polling.clock import Moment
from exporter.polling.plan import RESYNC_SECONDS, ListRequest
from exporter.polling.resync import ListLoss, Resync
from exporter.polling.store import SessionStore
from support.ledger_harness import sessions_config
from support.sample_sessions import NOON, finished, running, session_id

FULL = ListRequest(created_since=None)


def moment(seconds: float = 0.0) -> Moment:
    return Moment(monotonic=seconds, wall=NOON + timedelta(seconds=seconds))


def since(minutes_ago: float) -> ListRequest:
    """The list of sessions created since so many minutes before noon."""
    return ListRequest(created_since=NOON - timedelta(minutes=minutes_ago))


class ResyncHarness:
    """A store with these finished sessions, beside the lists of a server."""

    def __init__(
        self, *numbers: int, configured: tuple[int, ...] = (), discover: bool = True
    ) -> None:
        settings = sessions_config(map(session_id, configured), discover=discover)
        self.store = SessionStore(settings)
        self.resync = Resync(self.store, settings)
        self.loss: ListLoss | None = None
        for number in numbers:
            self.store.put(finished(number), moment())

    def list_all(self, *numbers: int, unreadable: int = 0) -> set[str]:
        """Read a full list; return the deleted sessions."""
        return self.list(FULL, *numbers, unreadable=unreadable)

    def list(self, request: ListRequest, *numbers: int, unreadable: int = 0) -> set[str]:
        """Read a list; return the deleted sessions."""
        self.resync.begin_list(request)
        for _ in range(unreadable):
            self.resync.add_unreadable("")
        for listed in map(session_id, numbers):
            self.resync.add_listed(listed, was_stored=self.store.find(listed) is not None)
        deleted, self.loss = self.resync.end_list(moment())
        return deleted

    def believes_404_of(self, number: int) -> bool:
        return self.resync.confirms_deletion(session_id(number))


def ids(*numbers: int) -> set[str]:
    return {session_id(number) for number in numbers}


def test_up_to_a_hundred_ids_that_the_change_feed_reports_are_remembered() -> None:
    resync = ResyncHarness().resync

    left_out = [resync.request_by_id(ids(*range(first, first + 60))) for first in (0, 60, 120)]

    assert left_out == [0, 20, 60]
    assert len(resync.to_fetch) == 100


def test_a_resync_is_due_at_first_and_an_hour_after_each_success() -> None:
    resync = ResyncHarness().resync
    assert resync.is_due(moment())

    resync.succeed(moment(100.0))

    assert not resync.is_due(moment(100.0 + RESYNC_SECONDS - 0.1))
    assert resync.is_due(moment(100.0 + RESYNC_SECONDS))


def test_a_requested_resync_is_due_until_one_succeeds() -> None:
    resync = ResyncHarness().resync
    resync.succeed(moment())

    resync.make_due()

    assert resync.is_due(moment())
    resync.succeed(moment())
    assert not resync.is_due(moment())


def test_a_full_list_makes_the_next_one_due_in_an_hour() -> None:
    harness = ResyncHarness(1)

    harness.list_all(1)

    assert not harness.resync.is_due(moment(RESYNC_SECONDS - 1))
    assert harness.resync.is_due(moment(RESYNC_SECONDS))


def test_up_to_a_hundred_missing_sessions_are_verified_by_id() -> None:
    harness = ResyncHarness(*range(1, 202))

    assert harness.list_all(*range(101, 202)) == set()
    assert harness.resync.to_fetch == ids(*range(1, 101))


def test_more_missing_sessions_are_deleted_if_the_list_is_requested_again_and_agrees() -> None:
    harness = ResyncHarness(*range(1, 1001))

    assert harness.list_all(*range(102, 1001)) == set()
    assert harness.loss == ListLoss(stored=1000, lost=101, believed=False)
    assert harness.resync.is_due(moment())
    assert harness.resync.to_fetch == set()
    assert harness.believes_404_of(1)

    assert harness.list_all(*range(102, 1001)) == ids(*range(1, 102))
    assert harness.loss == ListLoss(stored=1000, lost=101, believed=True)
    assert harness.resync.to_fetch == set()


def test_many_sessions_missing_once_are_not_deleted() -> None:
    harness = ResyncHarness(*range(1, 1001))
    harness.list_all(*range(102, 1001))

    assert harness.list_all(*range(1, 1001)) == set()
    assert harness.loss is None
    assert not harness.resync.is_due(moment())


def test_configured_ids_are_verified_however_many_are_missing() -> None:
    harness = ResyncHarness(*range(1, 103), configured=(7,))
    harness.list_all()

    assert harness.list_all() == ids(*range(1, 103)) - ids(7)
    assert harness.resync.to_fetch == ids(7)


def test_configured_ids_that_are_listed_need_no_verification() -> None:
    harness = ResyncHarness(*range(1, 103), configured=(7,))
    harness.list_all(7)

    assert harness.list_all(7) == ids(*range(1, 103)) - ids(7)
    assert harness.resync.to_fetch == set()


def test_a_full_list_leaves_other_ids_to_fetch_as_they_are() -> None:
    harness = ResyncHarness(1, 2)
    harness.resync.to_fetch.add(session_id(9))

    harness.list_all(1)

    assert harness.resync.to_fetch == ids(2, 9)


def test_after_a_full_list_sessions_that_are_not_kept_are_counted_one_by_one_again() -> None:
    harness = ResyncHarness()
    harness.list_all(1, 2)

    harness.resync.add_listed(session_id(3), was_stored=False)
    harness.resync.count_not_kept(session_id(4), observed_id=session_id(3))

    assert harness.resync.not_kept == 3


def test_sessions_that_unreadable_records_explain_are_verified_by_id_a_hundred_with_each_list() -> (
    None
):
    harness = ResyncHarness(*range(1, 103), configured=(7,))

    assert harness.list_all(unreadable=102) == set()
    assert session_id(7) in harness.resync.to_fetch
    assert len(harness.resync.to_fetch) == 101


def test_more_missing_sessions_than_unreadable_records_explain_are_deleted_if_the_next_list_agrees() -> (
    None
):
    harness = ResyncHarness(*range(1, 1001), configured=(7,))

    results = [
        (harness.list_all(*range(110, 1001), unreadable=unreadable), harness.loss)
        for unreadable in (8, 7, 7)
    ]

    assert results == [
        (set(), None),
        (set(), ListLoss(stored=1000, lost=109, believed=False)),
        (ids(*range(1, 110)) - ids(7), ListLoss(stored=1000, lost=109, believed=True)),
    ]


def test_an_unreadable_record_with_the_id_of_a_session_shows_that_it_exists() -> None:
    harness = ResyncHarness(1, 2)
    harness.resync.begin_list(FULL)
    harness.resync.add_unreadable(session_id(1))
    harness.resync.end_list(moment())

    assert harness.resync.to_fetch == ids(2)
    assert not harness.believes_404_of(1)


def test_a_few_sessions_missing_beside_unreadable_records_are_verified_by_id() -> None:
    harness = ResyncHarness(1, 2)

    assert harness.list_all(1, unreadable=1) == set()
    assert harness.resync.to_fetch == ids(2)


def test_the_next_list_is_complete_again() -> None:
    harness = ResyncHarness()
    harness.list_all(unreadable=1)

    harness.resync.begin_list(since(10))

    assert not harness.resync.is_incomplete


def test_listed_sessions_that_are_not_stored_are_not_kept() -> None:
    harness = ResyncHarness(1)
    harness.store.put(running(2), moment())
    harness.store.lookback.expired[session_id(3)] = NOON

    harness.list_all(1, 2, 3, 4, 5)

    assert harness.resync.not_kept == 2


def test_between_full_lists_sessions_that_are_not_kept_are_counted_one_by_one() -> None:
    resync = ResyncHarness().resync

    def evict(number: int) -> None:
        resync.count_not_kept(session_id(number), observed_id=session_id(9))

    evict(1)
    evict(2)
    resync.begin_list(FULL)
    evict(3)
    resync.abort_list()
    evict(4)

    assert resync.not_kept == 3


def test_what_is_not_kept_is_counted_once_while_full_lists_fail() -> None:
    harness = ResyncHarness()
    for _ in range(3):
        harness.resync.begin_list(FULL)
        harness.resync.add_listed(session_id(1), was_stored=False)
        harness.resync.count_not_kept(session_id(1), observed_id=session_id(1))
        harness.resync.abort_list()
        harness.resync.count_not_kept(session_id(1), observed_id=session_id(1))
        harness.resync.count_not_kept(session_id(2), observed_id=session_id(2))

    assert harness.resync.not_kept == 1


def test_what_is_not_kept_is_remembered_up_to_max_sessions() -> None:
    settings = sessions_config(max_sessions=2)
    resync = Resync(SessionStore(settings), settings)

    for number in (1, 2, 3, 3, 1):
        resync.count_not_kept(session_id(number), observed_id=session_id(number))

    assert resync.not_kept == 2


def test_a_session_that_does_not_fit_is_counted_once() -> None:
    harness = ResyncHarness()
    harness.resync.begin_list(FULL)
    harness.resync.add_listed(session_id(1), was_stored=False)
    harness.resync.count_not_kept(session_id(1), observed_id=session_id(1))
    harness.resync.end_list(moment())

    for number in (1, 1, 2, 2):
        harness.resync.count_not_kept(session_id(number), observed_id=session_id(number))

    assert harness.resync.not_kept == 2


def test_a_session_that_is_evicted_while_the_list_is_read_is_counted_once() -> None:
    harness = ResyncHarness(2)
    harness.resync.begin_list(FULL)

    for number in (1, 2):
        harness.resync.add_listed(session_id(number), was_stored=True)
    harness.resync.count_not_kept(session_id(1), observed_id=session_id(2))
    harness.resync.end_list(moment())

    assert harness.resync.not_kept == 1


def test_a_list_that_is_not_full_ends_the_comparison_of_one_that_was_interrupted() -> None:
    resync = ResyncHarness().resync
    resync.begin_list(FULL)

    resync.begin_list(since(10))
    resync.count_not_kept(session_id(1), observed_id=session_id(2))

    assert resync.not_kept == 1


def test_an_expired_session_is_remembered_while_it_is_listed() -> None:
    harness = ResyncHarness()
    harness.store.lookback.expired |= dict.fromkeys(ids(1, 2), NOON)

    harness.list_all(1)

    assert harness.store.lookback.expired.keys() == ids(1)


def test_a_list_with_unreadable_records_forgets_no_expired_session() -> None:
    harness = ResyncHarness()
    harness.store.lookback.expired |= dict.fromkeys(ids(1, 2), NOON)

    harness.list_all(unreadable=1)

    assert harness.store.lookback.expired.keys() == ids(1, 2)


# A full list that lost more than half


def test_a_full_list_without_more_than_half_of_the_sessions_is_requested_again_and_then_believed() -> (
    None
):
    harness = ResyncHarness(*range(1, 204))

    assert harness.list_all(*range(103, 204)) == set()
    assert harness.loss == ListLoss(stored=203, lost=102, believed=False)
    assert harness.resync.is_due(moment())
    assert harness.resync.to_fetch == set()

    assert harness.list_all(*range(103, 204)) == ids(*range(1, 103))
    assert harness.loss == ListLoss(stored=203, lost=102, believed=True)
    assert not harness.resync.is_due(moment())


def test_a_full_list_without_half_of_the_sessions_is_believed() -> None:
    harness = ResyncHarness(1, 2)

    harness.list_all(2)

    assert harness.loss is None
    assert harness.resync.to_fetch == ids(1)


def test_sessions_that_the_previous_full_list_lacked_are_not_lost_again() -> None:
    harness = ResyncHarness(1, 2, 3)
    losses = []
    for listed in ([1], [1], [1], []):
        assert harness.list_all(*listed) == set()
        losses.append(harness.loss)

    assert losses == [
        ListLoss(stored=3, lost=2, believed=False),
        ListLoss(stored=3, lost=2, believed=True),
        None,
        ListLoss(stored=3, lost=3, believed=False),
    ]
    assert harness.resync.to_fetch == ids(2, 3)


def test_sessions_that_full_lists_show_only_now_and_then_make_no_list_of_new_ones_late() -> None:
    harness = ResyncHarness(1, 2, 3)

    for listed in ([1, 2], [1, 2, 3]) * 3:
        harness.resync.begin_poll(moment())
        harness.list_all(*listed)

    assert harness.resync.late_lists.are_late is False


def test_new_sessions_in_a_full_list_do_not_make_up_for_those_it_lost() -> None:
    harness = ResyncHarness(1, 2, 3)

    harness.list_all(1, 7, 8, 9)

    assert harness.loss == ListLoss(stored=3, lost=2, believed=False)


def test_running_sessions_are_among_those_that_a_full_list_may_lose() -> None:
    harness = ResyncHarness(1)
    harness.store.put(running(2), moment())
    harness.store.put(running(3), moment())

    harness.list_all(1)

    assert harness.loss == ListLoss(stored=3, lost=2, believed=False)


def test_after_a_full_list_that_shows_everything_a_loss_is_new() -> None:
    harness = ResyncHarness(1, 2)
    harness.list_all()
    harness.list_all(1, 2)

    harness.list_all()

    assert harness.loss == ListLoss(stored=2, lost=2, believed=False)


def test_a_list_with_unreadable_records_is_not_taken_for_a_loss() -> None:
    harness = ResyncHarness(1, 2)

    harness.list_all(unreadable=2)

    assert (harness.loss, harness.resync.is_due(moment())) == (None, False)


def test_a_list_that_lacks_more_sessions_than_its_unreadable_records_explain_is_doubted() -> None:
    harness = ResyncHarness(*range(1, 61))

    deleted = harness.list_all(*range(1, 21), unreadable=1)

    assert (deleted, harness.resync.to_fetch) == (set(), set())
    assert harness.loss is not None
    assert harness.loss.is_most
    assert harness.resync.is_due(moment())
    assert not harness.believes_404_of(60)


def test_a_list_that_is_cut_at_its_bound_is_not_taken_for_a_loss() -> None:
    harness = ResyncHarness(1, 2)
    harness.resync.begin_list(FULL)
    harness.resync.cut_list()

    assert harness.resync.end_list(moment())[1] is None


def test_a_doubtful_list_forgets_no_expired_session() -> None:
    harness = ResyncHarness(1)
    harness.store.lookback.expired |= dict.fromkeys(ids(2), NOON)

    harness.list_all()

    assert harness.store.lookback.expired.keys() == ids(2)


# A 404 by id


def test_without_a_list_a_404_is_not_believed() -> None:
    assert not ResyncHarness(1).believes_404_of(1)


def test_a_404_is_believed_if_the_full_list_does_not_show_the_session() -> None:
    harness = ResyncHarness(1, 2)
    harness.list_all(2)

    assert harness.believes_404_of(1)
    assert not harness.believes_404_of(2)


def test_a_404_is_believed_if_a_list_that_begins_before_the_session_does_not_show_it() -> None:
    harness = ResyncHarness(1, 2, 3, 4)
    harness.list(since(3.5), 1, 2)

    assert harness.believes_404_of(3)
    assert not harness.believes_404_of(4)
    assert not harness.believes_404_of(2)


def test_a_404_of_a_session_created_when_the_list_begins_is_not_believed() -> None:
    harness = ResyncHarness(1, 2, 3)
    harness.list(since(3), 1, 2)

    assert not harness.believes_404_of(3)


def test_a_404_of_a_session_created_a_second_after_the_list_begins_is_believed() -> None:
    harness = ResyncHarness(1, 2, 3)
    begin = finished(3).creation_time - timedelta(seconds=1)
    harness.list(ListRequest(created_since=begin), 1, 2)

    assert harness.believes_404_of(3)


def test_a_404_is_believed_by_the_lists_of_its_own_poll() -> None:
    harness = ResyncHarness(1, 2)
    harness.list_all(2)

    harness.resync.begin_poll(moment())

    assert not harness.believes_404_of(1)


def test_a_bounded_list_proves_no_deletion_but_shows_sessions() -> None:
    harness = ResyncHarness(1, 2, 3)
    harness.list_all(2, 3)
    harness.list(ListRequest(created_since=None, max_pages=1), 1)

    assert not harness.believes_404_of(1)


def test_a_list_that_was_interrupted_proves_no_deletion() -> None:
    harness = ResyncHarness(1)
    harness.resync.begin_list(FULL)

    harness.resync.abort_list()

    assert not harness.believes_404_of(1)


def test_a_404_is_not_believed_by_a_full_list_that_lost_more_than_half() -> None:
    harness = ResyncHarness(1, 2, 3)
    harness.list_all(3)

    assert not harness.believes_404_of(1)
    assert harness.resync.verifying_list(ids(1, 2)) is None


def test_a_recent_list_that_lost_more_than_half_proves_nothing_and_requests_the_full_list() -> None:
    harness = ResyncHarness(1, 2, 3, 50)
    harness.store.put(running(4), moment())
    harness.store.put(running(60), moment())
    harness.list_all(1, 2, 3, 4, 50, 60)
    assert not harness.resync.is_due(moment())
    harness.resync.begin_poll(moment())

    harness.list(since(10), 1)

    assert not harness.believes_404_of(4)
    assert harness.resync.verifying_list(ids(4, 60)) is None
    assert harness.resync.is_due(moment())


def test_a_recent_list_that_lost_the_only_session_it_should_show_proves_its_deletion() -> None:
    harness = ResyncHarness(1, 50)

    harness.list(since(10))

    assert harness.believes_404_of(1)


def test_a_list_is_not_expected_to_show_sessions_that_the_full_list_did_not_show_either() -> None:
    harness = ResyncHarness(1, 2, 30, 40, 50)
    harness.list_all(30, 40, 50)
    harness.resync.begin_poll(moment())

    harness.list(since(10))

    assert harness.believes_404_of(1)
    assert not harness.resync.is_due(moment())


def test_a_session_that_a_list_of_new_ones_has_shown_is_expected_in_the_next() -> None:
    harness = ResyncHarness(1, 2, 30, 40, 50)
    harness.list_all(30, 40, 50)
    harness.list(since(10), 1, 2)
    harness.resync.begin_poll(moment())

    harness.list(since(10))

    assert not harness.believes_404_of(1)
    assert harness.resync.is_due(moment())


def test_a_404_of_a_session_that_is_not_stored_is_believed() -> None:
    assert ResyncHarness().believes_404_of(1)


def test_without_discovery_a_404_needs_no_list() -> None:
    harness = ResyncHarness(1, configured=(1,), discover=False)

    assert harness.believes_404_of(1)
    assert harness.resync.verifying_list(ids(1)) is None


def test_the_verifying_list_begins_before_the_oldest_session_that_no_list_covers() -> None:
    harness = ResyncHarness(1, 2, 30, 40)
    harness.list(since(10), 1)

    request = harness.resync.verifying_list(ids(1, 2, 30, 40, 99))

    assert request == ListRequest(created_since=finished(40).creation_time - timedelta(seconds=2))


def test_sessions_that_a_list_covers_or_shows_need_no_verifying_list() -> None:
    harness = ResyncHarness(1, 2)
    harness.list(since(10), 1)

    assert harness.resync.verifying_list(ids(1, 2, 99)) is None
