"""A real Redis is filled, captured and made to snapshot; without one the reason is told and the rest still runs."""

from __future__ import annotations

import io
import shutil

import pytest

from calibration.errors import BadInput
from calibration.live import redis
from calibration.live.cases import MIB_BYTES
from calibration.live.redis import RedisCase, run_redis
from calibration.machine_file import find_machine
from calibration.validate import compare_redis, validate

SMALL = RedisCase(data_bytes=8 * MIB_BYTES)
needs_redis = pytest.mark.skipif(not shutil.which("redis-server"), reason="redis-server is not installed")


@needs_redis
def test_forks_of_a_filled_server_are_timed_and_its_memory_captured() -> None:
    (done,) = run_redis([SMALL], processes=2, reps=3)
    assert done.error == ""
    assert [len(each) for each in done.fork_ns] == [3, 3]
    assert all(sample > 0.0 for each in done.fork_ns for sample in each)
    for snapshot, rss_bytes in zip(done.snapshots, done.rss_bytes, strict=True):
        assert rss_bytes > SMALL.data_bytes / 2
        assert snapshot.space.total("anon_ptes") * 4096 > SMALL.data_bytes / 2
        assert snapshot.threads > 1
    found = compare_redis(find_machine("bundled"), done)
    assert (found.milestone, found.copied, len(found.predictions)) == ("call", True, 2)


def test_without_a_server_the_reason_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    (done,) = run_redis([SMALL], processes=2, reps=3)
    assert "not installed" in done.error
    assert done.snapshots == []
    with pytest.raises(BadInput, match="nothing could be compared"):
        validate(find_machine("bundled"), [], redis=[SMALL], processes=1, reps=1)


def test_replies_are_read_as_the_protocol_says() -> None:
    stream = io.BytesIO(b"+OK\r\n:42\r\n$7\r\na:1\r\nb:\r\n-ERR no\r\n")
    assert redis._reply(stream) == "OK"
    assert redis._reply(stream) == 42
    assert redis._reply(stream) == "a:1\r\nb:"
    with pytest.raises(BadInput, match="ERR no"):
        redis._reply(stream)
    with pytest.raises(BadInput, match="it ended"):
        redis._reply(stream)
