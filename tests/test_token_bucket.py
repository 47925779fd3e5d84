from __future__ import annotations

from exporter.token_bucket import TokenBucket


def test_a_token_bucket_allows_a_burst_and_then_one_per_interval() -> None:
    bucket = TokenBucket(3, per_second=0.5)

    assert [bucket.try_take(0.0) for _ in range(4)] == [True, True, True, False]
    assert not bucket.try_take(1.9)
    assert [bucket.try_take(2.0) for _ in range(2)] == [True, False]
    assert [bucket.try_take(1000.0) for _ in range(4)] == [True, True, True, False]
