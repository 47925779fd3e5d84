"""The cost of publishing with a longer history, with more servers, and after changes all over the history."""

from __future__ import annotations

import random
import statistics
from collections.abc import Iterator, Sequence
from datetime import timedelta

from support.benchmark_figures import (
    interleave,
    median_ratio,
    milliseconds_text,
    print_table,
    ratio_text,
    thread_seconds,
)
from support.expositions import publisher
from support.sample_history import History
from support.sample_sessions import NOON

RUNNING = 100
ROUNDS = 15


class Published:
    """A history whose snapshots are published."""

    def __init__(self, finished: int) -> None:
        self.history = History(finished, RUNNING)
        self._publisher = publisher(self.history.snapshot())
        self._next = NOON

    def unchanged(self) -> float:
        """Publish after a poll in which nothing finished."""
        return self._publish()

    def one_finished(self) -> float:
        """Publish after one more session has finished."""
        self._next += timedelta(seconds=30)
        self.history.finish_one(self._next)
        return self._publish()

    def spread_change(self) -> float:
        """Publish after one in a hundred sessions has changed, anywhere in the history."""
        sessions = list(self.history.finished)
        for session in random.sample(sessions, max(1, len(sessions) // 100)):
            changed = session._replace(details=f"{random.randrange(1000)} items processed")  # noqa: S311 - any number will do
            self.history.replace(session, changed)
        return self._publish()

    def afresh(self) -> float:
        """Render and compress everything, without any cache."""
        snapshot = self.history.snapshot()
        return thread_seconds(lambda: publisher(snapshot))

    def _publish(self) -> float:
        snapshot = self.history.snapshot()
        return thread_seconds(lambda: self._publisher.publish(snapshot))


def by_history(sizes: Sequence[int], rounds: int) -> Iterator[tuple[str, ...]]:
    made = [Published(size) for size in sizes]
    unchanged = interleave(rounds, *(one.unchanged for one in made))
    finished = interleave(rounds, *(one.one_finished for one in made))
    # Measured against a thousand: with fewer, a publish is little more than what runs.
    base = sizes.index(1000) if 1000 in sizes else 0
    for place, size in enumerate(sizes):
        yield (
            str(size),
            milliseconds_text(statistics.median(unchanged[place])),
            ratio_text(median_ratio(unchanged[place], unchanged[base])),
            milliseconds_text(statistics.median(finished[place])),
            ratio_text(median_ratio(finished[place], finished[base])),
        )


def by_spread(sizes: Sequence[int], rounds: int) -> Iterator[tuple[str, ...]]:
    for size in sizes:
        one = Published(size)
        spread, afresh = interleave(rounds, one.spread_change, one.afresh)
        yield (
            str(size),
            milliseconds_text(statistics.median(spread)),
            milliseconds_text(statistics.median(afresh)),
            ratio_text(median_ratio(spread, afresh)),
        )


def by_servers(numbers: Sequence[int], rounds: int) -> Iterator[tuple[str, ...]]:
    for number in numbers:
        snapshots = [History(50, 2, server=f"server-{one}").snapshot() for one in range(number)]
        made = publisher(*snapshots)
        publishes = [
            thread_seconds(lambda made=made, one=one: made.publish(one))  # type: ignore[misc]  # mypy cannot infer a lambda with a default
            for one in (snapshots * rounds)[:rounds]
        ]
        yield (str(number), milliseconds_text(statistics.median(publishes)))


def main(
    sizes: Sequence[int] = (100, 1000, 10_000, 100_000),
    servers: Sequence[int] = (1, 15, 100, 200),
    rounds: int = ROUNDS,
) -> None:
    print_table(
        f"A publish with {RUNNING} running sessions, and how it grows from 1000 finished ones",
        ("finished", "none has finished", "growth", "one has finished", "growth"),
        by_history(sizes, rounds),
    )
    print_table(
        "A publish after one session in a hundred has changed anywhere, and everything afresh",
        ("finished", "1 % changed", "afresh", "ratio"),
        by_spread(sizes[1:], min(rounds, 5)),
    )
    print_table(
        "A publish of one server, with 50 finished sessions each",
        ("servers", "one of them publishes"),
        by_servers(servers, rounds),
    )


if __name__ == "__main__":
    main()
