from __future__ import annotations

from datetime import timedelta
from threading import Thread

import pytest
from simulator.support import NOON, WallClock, empty_world

from exporter.simulator.world.events import Event, EventTimes, event_times, events_of
from exporter.simulator.world.sessions import (
    Session,
    datetime_from_ticks,
    ticks_from_datetime,
    timestamp,
)
from exporter.simulator.world.world import World, accelerated_clock

NOON_TICKS = ticks_from_datetime(NOON)


def finished(world: World) -> list[Session]:
    return [session for session in world.sessions() if session.stopped]


def events(world: World, key: str) -> list[Event]:
    session = world.session(key)
    assert session is not None
    return events_of(session)


def times(world: World, key: str) -> EventTimes:
    session = world.session(key)
    assert session is not None
    return event_times(session)


def test_the_same_seed_makes_the_same_world() -> None:
    assert World(clock=WallClock()).sessions() == World(clock=WallClock()).sessions()


def test_another_seed_makes_another_world() -> None:
    assert World(seed=2, clock=WallClock()).sessions() != World(clock=WallClock()).sessions()


def test_a_world_develops_in_the_same_way_however_often_it_is_accessed() -> None:
    watched, untouched = WallClock(), WallClock()
    one, other = World(clock=watched), World(clock=untouched)
    for _ in range(600):
        watched.advance(seconds=1)
        one.advance()
    untouched.advance(seconds=600)

    assert one.sessions() == other.sessions()


def test_manual_changes_do_not_affect_other_sessions() -> None:
    clock, touched = WallClock(), World(clock=WallClock())
    added = touched.add_session()
    others = [session.id for session in touched.sessions() if session.id != added]

    assert others == [session.id for session in World(clock=clock).sessions()]


@pytest.mark.parametrize("sessions", [0, 1, 4, 5, 50])
@pytest.mark.parametrize("activity", [True, False])
def test_any_world_has_every_type_state_and_result(
    sessions: int,
    activity: bool,  # noqa: FBT001 - pytest passes it by name
) -> None:
    world = World(sessions=sessions, organizations=0, activity=activity, clock=WallClock())

    assert {session.type for session in finished(world)} == {"Vex", "Veod", "Vesp", "Vet"}
    assert {session.result for session in finished(world)} == {"Success", "Warning", "Failed"}
    assert {session.state for session in world.sessions()} == {"Working", "Stopped"}
    assert len(finished(world)) == max(4, sessions)
    # One restores, the other never did.
    assert len(world.organizations) == 2


@pytest.mark.parametrize("sessions", [0, 4, 200])
def test_any_world_has_a_session_that_only_browsed_and_one_that_did_nothing(sessions: int) -> None:
    world = World(sessions=sessions, activity=False, clock=WallClock())
    without_items = [one for one in finished(world) if one.details == "0 items processed"]

    assert {"", "o"} <= {"".join(sorted(set(session.items))) for session in without_items}
    assert {session.result for session in without_items} == {"Success"}


def test_details_statistics_and_events_agree_in_any_session() -> None:
    clock = WallClock()
    world = World(clock=clock)
    clock.advance(minutes=10)
    for session in world.sessions():
        events = [event for event in events_of(session) if event.item is not None]
        processed = [
            event for event in events if event.operation != "View" and event.status != "Running"
        ]
        restored = [event for event in processed if event.status in {"Success", "Warning"}]
        assert sum(session.statistics.values()) == len(processed)
        assert session.statistics["restored"] == len(restored)
        if session.stopped:
            assert session.details == f"{len(processed)} items processed"


def test_events_are_within_the_life_of_their_session() -> None:
    clock = WallClock()
    world = World(clock=clock)
    for _ in range(60):
        clock.advance(seconds=5)
        for session in world.sessions():
            latest = session.ended or ticks_from_datetime(clock.now)
            first, *others = events_of(session)
            assert (first.operation, first.started) == ("None", session.created)
            for event in others:
                ended = event.started if event.ended is None else event.ended
                assert session.created <= event.started <= ended <= latest


def test_the_newest_event_of_a_running_session_moves_with_its_items() -> None:
    clock = WallClock()
    world = empty_world(clock)
    key = world.add_session(creation_time=NOON - timedelta(days=3), items="r")
    idle_since = times(world, key).last_event
    clock.advance(hours=1)
    world.change_session(key, items="ra")
    started = times(world, key)
    clock.advance(minutes=1)
    world.change_session(key, items="rr")
    ended = times(world, key)
    clock.advance(minutes=1)
    world.finish(key)
    stopped = times(world, key)

    assert NOON - timedelta(days=3) < idle_since < NOON - timedelta(days=2.9)
    assert started.last_event == NOON + timedelta(hours=1)
    assert ended.last_event == NOON + timedelta(hours=1, minutes=1)
    assert stopped.last_event == NOON + timedelta(hours=1, minutes=2)
    assert stopped.active_seconds == ended.active_seconds
    assert ended.active_seconds == pytest.approx(73 * 3600 + 60, abs=5)


def test_known_items_keep_their_times() -> None:
    clock = WallClock()
    world = empty_world(clock)
    key = world.add_session(items="rr")
    before = events(world, key)
    clock.advance(minutes=5)
    world.change_session(key, items="rrf")
    world.finish(key)

    assert events(world, key)[:3] == before


def test_a_session_in_which_nothing_was_touched_has_no_active_time() -> None:
    world = empty_world()
    key = world.add_session(state="Stopped", creation_time=NOON - timedelta(hours=1))

    assert times(world, key).active_seconds is None
    assert times(world, key).last_event == NOON


def test_the_history_has_the_requested_number_of_sessions_within_30_days() -> None:
    world = World(sessions=300, clock=WallClock())
    history = finished(world)

    assert len(history) == 300
    for session in history:
        assert session.ended is not None
        assert session.created <= session.ended <= NOON_TICKS
        assert session.creation_time > NOON - timedelta(days=30, hours=4)
    assert history[-1].creation_time < NOON - timedelta(days=29)


def test_two_sessions_have_been_left_open_for_3_and_30_days() -> None:
    world = World(activity=False, clock=WallClock())
    ages = [NOON - session.creation_time for session in world.sessions() if not session.stopped]

    assert [age.days for age in ages] == [3, 30]
    assert not world.sessions()[-1].stopped


def test_sessions_are_ordered_newest_first() -> None:
    created = [session.created for session in World(clock=WallClock()).sessions()]

    assert created == sorted(created, reverse=True)


def test_names_are_hostile() -> None:
    world = World(organizations=6, sessions=200, clock=WallClock())
    names = "".join(session.name for session in world.sessions())
    organizations = "".join(one.session_name for one in world.organizations)

    for text in (names, organizations):
        assert {",", '"', "\\"} <= set(text)
        assert not text.isascii()


def test_the_requested_number_of_organizations_have_distinct_names() -> None:
    world = World(organizations=50, sessions=4, minimum=False)

    assert len({one.session_name for one in world.organizations}) == 50


def test_an_organization_never_restored_anything() -> None:
    world = World(organizations=2, sessions=40, clock=WallClock())
    restoring = {session.organization for session in world.sessions()}

    *others, idle = (one.session_name for one in world.organizations)
    assert restoring == set(others)
    assert idle not in restoring


def test_timestamps_have_0_to_7_fractional_digits() -> None:
    texts = [timestamp(session.created) for session in World(sessions=500).sessions()]

    assert {len(text.removesuffix("Z").partition(".")[2]) for text in texts} == set(range(8))


def test_sessions_start_progress_and_end_within_10_s_to_3_min() -> None:
    clock = WallClock()
    world = World(clock=clock)
    before = {session.id for session in world.sessions()}
    clock.advance(minutes=10)
    new = [session for session in world.sessions() if session.id not in before]

    assert len(new) > 40
    ended = [session for session in new if session.ended is not None]
    assert len(ended) > 25
    for session in ended:
        assert session.ended is not None
        assert 9 <= (session.ended - session.created) / 10_000_000 <= 181
    assert all(session.created <= ticks_from_datetime(clock.now) for session in new)


def test_at_any_moment_several_sessions_are_running_and_one_of_them_shows_progress() -> None:
    clock = WallClock()
    world = World(clock=clock)
    for _ in range(20):
        clock.advance(seconds=30)
        running = [session for session in world.sessions() if not session.stopped]
        assert len(running) > 3
        assert any(session.items for session in running)
        assert all(session.details == session.reason == "" for session in running)


def test_no_item_is_in_progress_once_all_are_done() -> None:
    clock = WallClock()
    world = World(clock=clock)
    last_seen: dict[str, str] = {}
    for _ in range(400):
        clock.advance(seconds=2)
        last_seen |= {s.id: s.items for s in world.sessions() if not s.stopped}
    ended = [session for session in finished(world) if session.id in last_seen]
    all_done = [s for s in ended if s.items and last_seen[s.id].rstrip("a") == s.items]

    assert len(all_done) > 10
    assert [session for session in all_done if last_seen[session.id] != session.items] == []


def test_finished_sessions_do_not_change() -> None:
    clock = WallClock()
    world = World(clock=clock)
    before = {session.id: session for session in finished(world)}
    clock.advance(hours=2)

    assert {session.id: session for session in finished(world) if session.id in before} == before


def test_a_world_without_activity_does_not_change() -> None:
    clock = WallClock()
    world = World(activity=False, clock=clock)
    before = world.sessions()
    clock.advance(days=1)

    assert world.sessions() == before


def test_an_empty_world_is_empty() -> None:
    assert empty_world().sessions() == []


def test_a_clock_can_run_faster() -> None:
    real = WallClock()
    clock = accelerated_clock(60, real)
    real.advance(seconds=2)

    assert clock() == NOON + timedelta(minutes=2)


def test_a_negative_number_is_rejected() -> None:
    with pytest.raises(ValueError, match="negative"):
        World(sessions=-1)


def test_a_session_added_without_fields_is_opened_now() -> None:
    world = empty_world()
    session = world.session(world.add_session())

    assert session is not None
    assert (session.creation_time, session.state, session.ended) == (NOON, "Working", None)


def test_an_added_session_has_the_fields_given() -> None:
    world = empty_world()
    key = world.add_session(
        id="0800471B-D0E2-422B-9D7C-35D15661C3FB",
        organization=None,
        type="Vet",
        creation_time=NOON - timedelta(hours=1),
        end_time=None,
        state="Stopped",
        items="rrf",
        name='x"y',
    )
    session = world.session(key)

    assert session is not None
    assert key == "0800471b-d0e2-422b-9d7c-35d15661c3fb"
    assert (session.type, session.organization, session.name) == ("Vet", None, 'x"y')
    assert (session.state, session.end_time) == ("Stopped", None)
    assert session.details == "3 items processed"


def test_ids_are_unique() -> None:
    world = empty_world()
    key = world.add_session()
    with pytest.raises(ValueError, match=key):
        world.add_session(id=key.upper())


def test_finishing_a_session_ends_it_now_with_details() -> None:
    clock = WallClock()
    world = empty_world(clock)
    key = world.add_session(items="orra")
    clock.advance(seconds=90)
    world.finish(key, result="Warning")
    session = world.session(key)

    assert session is not None
    assert (session.state, session.result, session.details) == (
        "Stopped",
        "Warning",
        "2 items processed",
    )
    assert session.end_time == NOON + timedelta(seconds=90)
    assert session.items == "orr"


def test_every_change_increases_the_e_tag() -> None:
    world = empty_world()
    key = world.add_session()
    seen = []
    for _ in range(3):
        world.change_session(key)
        session = world.session(key)
        assert session is not None
        seen.append(session.e_tag)

    assert seen == sorted(set(seen))


def test_a_changed_creation_time_moves_the_session_in_the_order() -> None:
    world = empty_world()
    old, new = world.add_session(), world.add_session(creation_time=NOON + timedelta(seconds=1))
    world.change_session(old, creation_time=NOON + timedelta(seconds=2))

    assert [session.id for session in world.sessions()] == [old, new]


def test_the_id_of_a_session_cannot_be_changed() -> None:
    world = empty_world()
    key = world.add_session()
    with pytest.raises(ValueError, match="id of a session cannot be changed"):
        world.change_session(key, id="another")


def test_items_have_only_known_letters() -> None:
    world = empty_world()
    with pytest.raises(ValueError, match="letters"):
        world.add_session(items="xyz")


def test_a_removed_session_no_longer_exists() -> None:
    world = empty_world()
    key = world.add_session()
    world.remove(key.upper())

    assert world.session(key) is None
    assert world.sessions() == []
    with pytest.raises(KeyError):
        world.remove(key)
    with pytest.raises(KeyError):
        world.finish(key)


def test_sessions_removed_or_finished_manually_stay_so() -> None:
    clock = WallClock()
    world = World(clock=clock)
    running = [session.id for session in world.sessions() if not session.stopped]
    world.remove(running[0])
    world.finish(running[1], result="Failed")
    by_hand = world.session(running[1])
    clock.advance(minutes=10)

    assert world.session(running[0]) is None
    assert world.session(running[1]) == by_hand


def test_a_page_is_a_slice_of_the_order_and_shows_whether_more_follow() -> None:
    world = World(sessions=50, activity=False, clock=WallClock())
    every = world.sessions()

    assert world.page(0, 10) == (every[:10], True)
    assert world.page(45, 10) == (every[45:], False)
    assert world.page(100, 10) == ([], False)


def test_bounds_of_the_creation_time_are_exclusive() -> None:
    world = empty_world()
    times = [NOON + timedelta(minutes=minute) for minute in range(3)]
    keys = [world.add_session(creation_time=time) for time in times]
    first, _, last = map(ticks_from_datetime, times)

    between = world.sessions(created_after=first, created_before=last)
    assert [session.id for session in between] == [keys[1]]
    page, more = world.page(0, 10, created_after=first - 1)
    assert [session.id for session in page] == list(reversed(keys))
    assert not more
    assert world.sessions(created_after=last, created_before=first) == []


def test_the_change_feed_has_changes_and_deletions() -> None:
    world = empty_world()
    start = world.change_number()
    key = world.add_session()
    world.change_session(key)
    world.remove(key)
    changes = world.changes_since(start, 10)

    assert changes is not None
    assert [change.session_id for change in changes] == [key] * 3
    assert [change.e_tag is None for change in changes] == [False, False, True]
    assert world.changes_since(changes[1].number, 10) == changes[2:]
    assert world.changes_since(start, 2) == changes[:2]


def test_dropped_changes_are_reported_as_unknown() -> None:
    world = World(activity=False, clock=WallClock())

    assert world.changes_since(world.change_number(), 10) == []
    assert world.changes_since(world.change_number() - 1, 10) is None
    assert world.changes_since(world.change_number() + 1, 10) is None


def test_several_threads_may_change_the_world() -> None:
    world = empty_world()

    def work() -> None:
        for _ in range(50):
            world.finish(world.add_session())

    threads = [Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    e_tags = [session.e_tag for session in world.sessions()]
    assert len(set(e_tags)) == 200
    assert world.change_number() == 400


def test_a_world_uses_the_wall_clock_by_default() -> None:
    world = World(sessions=4)
    newest = world.sessions()[0]

    age = datetime_from_ticks(world.now()) - newest.creation_time
    assert timedelta(0) <= age < timedelta(minutes=4)
