from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import bcrypt
import pytest

from exporter.threads import ThreadLimitError
from exporter.web.webconfig.passwords import Passwords, TooManyChecksError
from support.thread_limit import no_more_threads

COMPARE = bcrypt.checkpw
ALICES = bcrypt.hashpw(b"wonderland", bcrypt.gensalt(4))
USERS = {b"alice": ALICES}


class Checks:
    """bcrypt, with a count of its work and a gate before it."""

    def __init__(self) -> None:
        self.hashes: list[bytes] = []
        self.threads: set[str] = set()
        self.at_a_time = 0
        self.most_at_a_time = 0
        self.go_on = threading.Event()
        self.go_on.set()
        self.held = threading.Event()

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        if not self.go_on.is_set():
            self.held.set()
        self.hashes.append(hashed)
        self.threads.add(threading.current_thread().name)
        self.at_a_time += 1
        self.most_at_a_time = max(self.most_at_a_time, self.at_a_time)
        assert self.go_on.wait(10)
        self.at_a_time -= 1
        return COMPARE(password, hashed)


@pytest.fixture
def checks() -> Checks:
    return Checks()


def cost(hashed: bytes) -> bytes:
    return hashed.split(b"$")[2]


@pytest.mark.parametrize(
    ("user", "password", "matches"),
    [
        (b"alice", b"wonderland", True),
        (b"alice", b"Wonderland", False),
        (b"alice", b"", False),
        (b"alice", b"wonder\0land", False),
        (b"Alice", b"wonderland", False),
        (b"", b"wonderland", False),
        (b"\xff", b"\xff", False),
    ],
)
def test_only_a_users_own_password_matches(
    user: bytes,
    password: bytes,
    matches: bool,  # noqa: FBT001 - a parameter
) -> None:
    passwords = Passwords()

    async def check_twice() -> tuple[bool, bool]:
        return (
            await passwords.match(user, password, USERS),
            await passwords.match(user, password, USERS),
        )

    assert asyncio.run(check_twice()) == (matches, matches)


def test_only_the_first_72_bytes_of_a_password_count_as_with_every_bcrypt() -> None:
    users = {b"bob": bcrypt.hashpw(b"x" * 72, bcrypt.gensalt(4))}

    async def match(length: int) -> bool:
        return await Passwords().match(b"bob", b"x" * length, users)

    assert not asyncio.run(match(71))
    assert asyncio.run(match(72))
    assert asyncio.run(match(4000))


def test_the_same_credentials_are_compared_once(checks: Checks) -> None:
    passwords = Passwords(compare=checks)

    async def scenario() -> set[bool]:
        first = await asyncio.gather(
            *(passwords.match(b"alice", b"wonderland", USERS) for _ in range(20)),
        )
        later = [await passwords.match(b"alice", b"wonderland", USERS) for _ in range(3)]
        return {*first, *later}

    assert asyncio.run(scenario()) == {True}
    assert len(checks.hashes) == 1


def test_checks_are_made_in_threads_one_at_a_time(checks: Checks) -> None:
    passwords = Passwords(compare=checks)

    async def scenario() -> list[bool]:
        checks.go_on.clear()
        waiting = [
            asyncio.create_task(passwords.match(b"alice", str(number).encode(), USERS))
            for number in range(40)
        ]
        await asyncio.sleep(0)
        await asyncio.to_thread(lambda: None)  # there are threads left for other work
        checks.go_on.set()
        return await asyncio.gather(*waiting)

    assert asyncio.run(scenario()) == [False] * 40
    assert len(checks.hashes) == 40
    assert checks.most_at_a_time == 1
    assert threading.main_thread().name not in checks.threads


def test_a_remembered_password_does_not_wait_for_a_check(checks: Checks) -> None:
    passwords = Passwords(compare=checks)

    async def scenario() -> None:
        assert await passwords.match(b"alice", b"wonderland", USERS)
        checks.go_on.clear()
        guess = asyncio.create_task(passwords.match(b"alice", b"guess", USERS))
        await asyncio.sleep(0)
        assert await passwords.match(b"alice", b"wonderland", USERS)
        assert not guess.done()
        checks.go_on.set()
        assert not await guess

    asyncio.run(scenario())


def test_an_unknown_user_costs_as_much_as_a_known_one(checks: Checks) -> None:
    users = {b"cheap": ALICES, b"dear": bcrypt.hashpw(b"x", bcrypt.gensalt(5))}
    passwords = Passwords(compare=checks)

    async def hash_used_for(user: bytes) -> bytes:
        assert not await passwords.match(user, b"guess", users)
        return checks.hashes[-1]

    async def hashes_used() -> list[bytes]:
        return [await hash_used_for(str(number).encode()) for number in range(40)]

    used = asyncio.run(hashes_used())
    assert len(checks.hashes) == 40
    assert {cost(hashed) for hashed in used} == {b"04", b"05"}
    assert not {*used} & {*users.values()}
    assert {len(hashed) for hashed in used} == {60}
    assert {COMPARE(b"", hashed) for hashed in used} == {
        False
    }  # complete hashes: they do not raise


def test_an_unknown_user_costs_the_same_each_time(checks: Checks) -> None:
    users = {b"cheap": ALICES, b"dear": bcrypt.hashpw(b"x", bcrypt.gensalt(5))}
    passwords = Passwords(compare=checks)

    async def scenario() -> None:
        for number in range(10):
            await passwords.match(b"mallory", str(number).encode(), users)

    asyncio.run(scenario())
    assert len({cost(hashed) for hashed in checks.hashes}) == 1


def test_a_new_hash_of_a_user_invalidates_the_remembered_password() -> None:
    passwords = Passwords()
    changed = {b"alice": bcrypt.hashpw(b"looking-glass", bcrypt.gensalt(4))}

    async def scenario() -> tuple[bool, ...]:
        return (
            await passwords.match(b"alice", b"wonderland", USERS),
            await passwords.match(b"alice", b"wonderland", changed),
            await passwords.match(b"alice", b"wonderland", {b"bob": ALICES}),
            await passwords.match(b"alice", b"looking-glass", changed),
        )

    assert asyncio.run(scenario()) == (True, False, False, True)


def test_guesses_do_not_evict_right_passwords(checks: Checks) -> None:
    passwords = Passwords(compare=checks, max_remembered=4)

    async def scenario() -> None:
        assert await passwords.match(b"alice", b"wonderland", USERS)
        for number in range(10):
            assert not await passwords.match(b"alice", str(number).encode(), USERS)
        assert await passwords.match(b"alice", b"wonderland", USERS)
        assert not await passwords.match(b"alice", b"9", USERS)  # remembered
        assert len(checks.hashes) == 11
        assert not await passwords.match(b"alice", b"0", USERS)  # evicted
        assert len(checks.hashes) == 12

    asyncio.run(scenario())


def test_checks_beyond_a_limit_displace_the_oldest_waiting_one(checks: Checks) -> None:
    passwords = Passwords(compare=checks, max_pending=2)

    async def scenario() -> None:
        checks.go_on.clear()
        waiting = []
        for password in (b"1", b"2", b"2", b"3"):
            match = passwords.match(b"alice", password, USERS)
            waiting.append(asyncio.create_task(match))
            await asyncio.sleep(0)
        for displaced in waiting[1:3]:
            with pytest.raises(TooManyChecksError):
                await displaced
        checks.go_on.set()
        assert [await waiting[0], await waiting[3]] == [False] * 2
        assert not await passwords.match(b"alice", b"2", USERS)

    asyncio.run(scenario())


def test_without_a_waiting_check_one_beyond_the_limit_is_rejected(checks: Checks) -> None:
    passwords = Passwords(compare=checks, max_pending=1)

    async def scenario() -> None:
        checks.go_on.clear()
        running = asyncio.create_task(passwords.match(b"alice", b"1", USERS))
        assert await asyncio.to_thread(checks.held.wait, 10)
        with pytest.raises(TooManyChecksError):
            await passwords.match(b"alice", b"2", USERS)
        checks.go_on.set()
        assert not await running

    asyncio.run(scenario())


class Order(Checks):
    """Checks that record the passwords in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.passwords: list[bytes] = []

    def __call__(self, password: bytes, hashed: bytes) -> bool:
        matches = super().__call__(password, hashed)
        self.passwords.append(password)
        return matches


def order_of(guesses: list[tuple[str, bytes]], *, max_pending: int = 256) -> list[bytes]:
    """Return the order in which passwords that arrive during a first check are checked, without those dropped."""
    checks = Order()
    passwords = Passwords(compare=checks, max_pending=max_pending)

    async def scenario() -> None:
        checks.go_on.clear()
        waiting = []
        for client, password in [("first", b"first"), *guesses]:
            match = passwords.match(b"alice", password, USERS, client=client)
            waiting.append(asyncio.create_task(match))
            await asyncio.sleep(0)
        checks.go_on.set()
        await asyncio.gather(*waiting, return_exceptions=True)

    asyncio.run(scenario())
    return checks.passwords[1:]


def test_a_client_with_one_check_does_not_wait_for_all_those_of_another() -> None:
    guesses = [("attacker", str(number).encode()) for number in range(100)]
    assert order_of([*guesses, ("prometheus", b"wonderland")]).index(b"wonderland") == 1


def test_of_one_client_the_newest_check_comes_first() -> None:
    guesses = [("proxy", str(number).encode()) for number in range(4)]
    assert order_of(guesses) == [b"3", b"2", b"1", b"0"]


def test_a_repeated_request_renews_its_waiting_check() -> None:
    guesses = [("proxy", password) for password in (b"wonderland", b"1", b"2", b"wonderland")]
    assert order_of(guesses) == [b"wonderland", b"2", b"1"]


def test_a_client_with_few_checks_takes_the_place_of_one_with_many() -> None:
    guesses = [("attacker", str(number).encode()) for number in range(9)]
    order = order_of([*guesses, ("prometheus", b"wonderland")], max_pending=5)
    assert order == [b"8", b"wonderland", b"7", b"6"]


def test_beside_guessers_at_the_same_address_the_right_password_is_checked_next() -> None:
    checks = Order()
    passwords = Passwords(compare=checks)

    async def guess(guesser: int) -> None:
        for number in range(20):
            assert not await passwords.match(b"alice", f"{guesser}-{number}".encode(), USERS)

    async def scenario() -> bytes:
        guessers = [asyncio.create_task(guess(number)) for number in range(50)]
        await asyncio.wait(guessers, return_when=asyncio.FIRST_COMPLETED)
        checks.go_on.clear()
        assert await asyncio.to_thread(checks.held.wait, 10)
        done = len(checks.passwords)
        right = asyncio.create_task(passwords.match(b"alice", b"wonderland", USERS))
        await asyncio.sleep(0)
        checks.go_on.set()
        assert await right
        for guesser in guessers:
            guesser.cancel()
        return checks.passwords[done + 1]

    assert asyncio.run(scenario()) == b"wonderland"


def test_a_check_that_takes_long_does_not_delay_the_end_of_the_process() -> None:
    program = (
        "import asyncio, threading\n"
        "from exporter.web.webconfig.passwords import Passwords\n"
        "async def main():\n"
        "    begun = asyncio.Event()\n"
        "    loop = asyncio.get_running_loop()\n"
        "    def never(password, hashed):\n"
        "        loop.call_soon_threadsafe(begun.set)\n"
        "        threading.Event().wait()\n"
        "    passwords = Passwords(compare=never)\n"
        "    match = asyncio.create_task(passwords.match(b'a', b'b', {b'a': b'c'}))\n"
        "    await begun.wait()\n"
        "asyncio.run(main())\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], timeout=60, check=False)
    assert ended.returncode == 0


def test_a_client_that_disconnects_does_not_cancel_the_check_for_others(checks: Checks) -> None:
    passwords = Passwords(compare=checks)

    async def scenario() -> bool:
        checks.go_on.clear()
        gone, stays = (
            asyncio.create_task(passwords.match(b"alice", b"wonderland", USERS)) for _ in range(2)
        )
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        checks.go_on.set()
        return await stays

    assert asyncio.run(scenario())
    assert len(checks.hashes) == 1


def test_no_password_is_kept(checks: Checks) -> None:
    passwords = Passwords(compare=checks)

    async def scenario() -> None:
        await passwords.match(b"alice", b"wonderland", USERS)
        await passwords.match(b"alice", b"marker", USERS)

    asyncio.run(scenario())
    assert len(checks.hashes) == 2
    # No public state can show that the memory holds no password.
    kept = repr([vars(passwords._right), vars(passwords._wrong), passwords._pending])  # noqa: SLF001 - see above
    assert "items" in kept
    assert "wonderland" not in kept
    assert "marker" not in kept


def test_a_failed_check_fails_its_request_only() -> None:
    failures = [MemoryError()]

    def compare(_password: bytes, _hashed: bytes) -> bool:
        if failures:
            raise failures.pop()
        return True

    passwords = Passwords(compare=compare)

    async def scenario() -> bool:
        with pytest.raises(MemoryError):
            await passwords.match(b"alice", b"secret", USERS)
        return await passwords.match(b"alice", b"secret", USERS)

    assert asyncio.run(scenario())


def test_without_a_thread_for_it_a_check_fails_and_the_next_one_succeeds() -> None:
    passwords = Passwords()

    async def check_twice() -> bool:
        with no_more_threads(), pytest.raises(ThreadLimitError, match="web-work"):
            await passwords.match(b"alice", b"wonderland", USERS)
        return await passwords.match(b"alice", b"wonderland", USERS)

    assert asyncio.run(check_twice())
