"""Scripts in Redis, called on connections that are kept."""

import os
import signal
from collections.abc import Iterator
from functools import partial
from typing import Any

import pytest
import redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import ResponseError

from devstack.ports import free_port
from penstock.wire.scripts import Script
from penstock.worker.asyncio_pool.redis_pipe import RedisPipe
from penstock.worker.redis_client import sync_client
from penstock.worker.results.script_calls import NotCopiedError, ScriptCall, ScriptCalls
from tests.support.waiting import eventually


class StopWaitingError(Exception):
    """What a soft time limit raises wherever the process happens to be."""


ECHO = Script("return {KEYS[1], ARGV[1], ARGV[2]}")


@pytest.fixture
def client(redis_url: str) -> Iterator[redis.Redis]:
    with sync_client(redis_url) as client:
        yield client


@pytest.fixture
def calls(client: redis.Redis) -> ScriptCalls:
    return ScriptCalls(client.connection_pool)


def cut(client: redis.Redis) -> None:
    """Close every connection but the one that says so, as a restart of Redis does."""
    client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


def clients(client: redis.Redis) -> int:
    answer: list[Any] = client.client_list()
    return len(answer)


def test_keys_and_arguments_arrive_as_they_are(calls: ScriptCalls):
    long = "x" * 300_000

    assert calls.call(ECHO, ["kéy"], ["a\r\n$1 ☃", 7]) == [
        "kéy".encode(), "a\r\n$1 ☃".encode(), b"7"
    ]  # fmt: skip
    assert calls.call(ECHO, ["k"], [long, ""]) == [b"k", long.encode(), b""]


def test_one_after_the_other_uses_one_connection(client: redis.Redis, calls: ScriptCalls):
    before = clients(client)

    for number in range(5):
        assert calls.call(ECHO, ["k"], [number, ""])[1] == b"%d" % number
    assert clients(client) == before + 1


def test_a_script_that_redis_forgot_is_told_again(client: redis.Redis, calls: ScriptCalls):
    calls.call(ECHO, ["k"], [1, 2])
    client.script_flush()

    assert calls.call(ECHO, ["k"], [3, 4]) == [b"k", b"3", b"4"]
    assert client.script_exists(ECHO.sha) == [True]


def test_connections_that_were_cut_are_replaced(redis_url: str, client: redis.Redis):
    calls = ScriptCalls(client.connection_pool)
    taken = [client.connection_pool.get_connection() for _ in range(3)]
    calls._idle.extend(taken)  # as three threads that called at the same time left them
    with sync_client(redis_url) as other:
        cut(other)

        for number in range(4):
            assert calls.call(ECHO, ["k"], [number, ""])[1] == b"%d" % number


def test_what_was_cut_is_given_back(redis_url: str, client: redis.Redis):
    pool = redis.ConnectionPool.from_url(redis_url, max_connections=1)
    calls = ScriptCalls(pool)

    for number in range(3):
        assert calls.call(ECHO, ["k"], [number, ""])[1] == b"%d" % number
        cut(client)
    pool.disconnect()


def test_an_error_of_the_script_is_raised_and_costs_no_connection(
    client: redis.Redis, calls: ScriptCalls
):
    before = clients(client)

    for _ in range(3):
        with pytest.raises(ResponseError, match="not yet"):
            calls.call(Script("return redis.error_reply('not yet')"), [], [])
    assert calls.call(ECHO, ["k"], [1, 2]) == [b"k", b"1", b"2"]
    assert clients(client) == before + 1


def test_an_answer_that_nobody_waited_for_is_nobody_elses(
    redis_url: str, client: redis.Redis, calls: ScriptCalls
):
    calls.call(ECHO, ["k"], ["first", ""])

    def interrupt(*_: Any) -> None:
        raise StopWaitingError

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with sync_client(redis_url) as other:
            other.execute_command("CLIENT", "PAUSE", 1000, "ALL")
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        with pytest.raises(StopWaitingError):
            calls.call(ECHO, ["k"], ["lost", ""])
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)

    assert calls.call(ECHO, ["k"], ["own", ""])[1] == b"own"


def test_a_forked_process_opens_its_own(client: redis.Redis, calls: ScriptCalls):
    calls.call(ECHO, ["k"], ["parent", ""])
    before = clients(client)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        answer = b"?"
        try:
            answer = calls.call(ECHO, ["k"], ["child", ""])[1]
        finally:
            os.write(writing, answer)
            signal.pause()
    try:
        assert os.read(reading, 100) == b"child"
        assert clients(client) == before + 1
        assert calls.call(ECHO, ["k"], ["parent", ""])[1] == b"parent"
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(reading)
        os.close(writing)


def test_redis_away_is_said():
    with (
        sync_client(f"redis://127.0.0.1:{free_port()}") as client,
        pytest.raises(RedisConnectionError),
    ):
        ScriptCalls(client.connection_pool).call(ECHO, [], [])


def test_what_no_replica_has_is_an_error_and_costs_no_connection(
    client: redis.Redis, calls: ScriptCalls
):
    before = clients(client)

    for number in range(3):
        with pytest.raises(NotCopiedError, match="copied to 0 replicas of 1"):
            calls.call(ECHO, ["k"], ["a", ""], 1)
        with pytest.raises(ResponseError):
            calls.call(Script("return redis.call('NONE')"), ["k"], [], 1)
        assert calls.call(ECHO, ["k"], [number, ""])[1] == b"%d" % number
    assert clients(client) == before + 1


async def test_a_pipe_hands_on_what_replicas_must_have_when_they_have_it(redis_url: str):
    pipe, answers = RedisPipe(redis_url), dict[str, Any]()

    def ask(name: str, copies: int) -> None:
        call = ScriptCall(Script("return KEYS[1]"), (name,), (), copies)
        pipe.call(call, partial(answers.__setitem__, name))

    for name, copies in (("a", 0), ("b", 1), ("c", 0), ("d", 1)):
        ask(name, copies)
    await eventually(lambda: len(answers) == 4, timeout_s=10)
    ask("e", 0)
    await eventually(lambda: "e" in answers)

    assert [answers[name] for name in "ace"] == [b"a", b"c", b"e"]
    assert {type(answers[name]) for name in "bd"} == {NotCopiedError}
    await pipe._connection.disconnect(nowait=True)
