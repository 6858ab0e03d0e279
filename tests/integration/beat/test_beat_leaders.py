"""One of several beats leads, and gives up the lock or loses it."""

import signal
from pathlib import Path

from redis import Redis

from devstack.proxy import Direction, TcpProxy
from devstack.rabbit import Rabbit
from penstock.worker.app import Penstock
from penstock.worker.beat.schedule import LOCK_TIMEOUT_S
from tests.support.beats import LOCK, BeatMaker, every, leading, messages, runs
from tests.support.waiting import eventually


async def test_after_a_kill_9_the_other_beat_leads_within_seconds_and_never_both(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str, tmp_path: Path
):
    every(app, "mine", 1)
    async with leading(beats, "first") as first:
        beats("second")
        await eventually((tmp_path / "second.alive").exists, timeout_s=20)
        await eventually(lambda: runs(client, "mine") >= 3, timeout_s=10)
        assert "beat: leading" not in (tmp_path / "second.log").read_text()
        token = client.get(LOCK)

        await first.kill()
        await eventually(
            lambda: client.get(LOCK) not in {None, token}, timeout_s=LOCK_TIMEOUT_S + 3
        )

        before = runs(client, "mine")
        await eventually(lambda: runs(client, "mine") >= before + 2, timeout_s=10)
    client.set(LOCK, "nobody")  # whoever leads stops
    await eventually(lambda: "not leading" in (tmp_path / "second.log").read_text())

    ids = [message.headers["id"] for message in messages(amqp_url, "default")]
    assert len(ids) - runs(client, "mine") in {0, 1}  # one: killed between publish and advance
    assert len(set(ids)) == runs(client, "mine")


async def test_a_beat_that_is_stopped_gives_the_lock_back_at_once(beats: BeatMaker, client: Redis):
    async with leading(beats) as beat:
        assert client.ttl(LOCK) <= LOCK_TIMEOUT_S

    assert beat.returncode == 0
    assert not client.exists(LOCK)


async def test_a_beat_that_is_stopped_while_it_publishes_ends_and_gives_the_lock_back(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str, rabbit: Rabbit
):
    every(app, "mine", 1)
    due = ("mine", "heartbeat", "script-heartbeat")
    async with TcpProxy(rabbit.port) as proxy:
        beat = beats("beat", AMQP_URL=proxy.url_through(amqp_url))
        for _ in range(3):
            # all that is due at once, so that the next message is a second away
            await eventually(lambda: all(runs(client, each) for each in due), timeout_s=30)
            sent = proxy.passed_bytes[Direction.TO_SERVER]
            proxy.stall(Direction.TO_CLIENT)  # no confirm comes
            await eventually(lambda: proxy.passed_bytes[Direction.TO_SERVER] > sent + 500, 20)  # noqa: B023
            beat.signal(signal.SIGTERM)
            await eventually(lambda: not beat.running, timeout_s=10)  # docker's patience

            assert beat.returncode == 0
            assert not client.exists(LOCK)
            proxy.resume()
            client.hdel("redbeat:mine", "meta")
            beat.spawn()


async def test_a_frozen_beat_publishes_nothing_after_another_took_over(
    beats: BeatMaker, client: Redis, app: Penstock, amqp_url: str
):
    async with leading(beats, "frozen") as frozen:
        await eventually(lambda: runs(client, "heartbeat"), timeout_s=20)
        frozen.signal(signal.SIGSTOP)
        async with leading(beats, "second"):
            every(app, "mine", 1)
            await eventually(lambda: runs(client, "mine") >= 2, timeout_s=30)
            token = client.get(LOCK)
            frozen.signal(signal.SIGCONT)
            await eventually(lambda: "not leading" in frozen.log_tail(200), timeout_s=30)
            before = runs(client, "mine")
            await eventually(lambda: runs(client, "mine") >= before + 2, timeout_s=30)
            assert client.get(LOCK) == token
            # here: it may lead again as soon as the second has stopped
            assert "beat: published mine" not in frozen.log.read_text()

    # The second may have been stopped between publishing and noting it.
    assert len(messages(amqp_url, "default")) - runs(client, "mine") in {0, 1}
