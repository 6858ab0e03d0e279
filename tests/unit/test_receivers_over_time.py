"""Receivers that are well among many that hang: hours of a gateway, in virtual time."""

import asyncio
import random
import selectors
from collections.abc import Coroutine
from typing import Any

import pytest

from gateway.endings.callback_delivery import AT_ONCE
from gateway.endings.callback_post import TOTAL_TIMEOUT_S, CallbackFailedError
from gateway.endings.receivers import ReceiverBusyError, Receivers

GOOD = [f"https://good{n}.example/" for n in range(5)]


class Clock(selectors.SelectSelector):
    """Waits for nothing: the time for which it is asked to passes at once."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        self.now += max(0.0, timeout or 0.0)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


class Events:
    """Does with events what the consumer and the broker do."""

    def __init__(self) -> None:
        self.now = asyncio.get_running_loop().time
        self.receivers = Receivers(self.now)
        self.in_hand = asyncio.Semaphore(AT_ONCE)
        self.calls = 0
        self.put_off = 0

    async def deliver(self, url: str, *, hangs: bool = False) -> float:
        """Try until one is delivered; return after how many seconds."""
        began_at, attempt = self.now(), 0
        while True:
            try:
                async with self.in_hand, self.receivers.calling(url):
                    await self._call(hangs=hangs)
                return self.now() - began_at
            except ReceiverBusyError as busy:
                self.put_off += 1
                await asyncio.sleep(busy.delay_s)
            except CallbackFailedError:
                attempt += 1
                await asyncio.sleep(min(3600, 2**attempt) * random.uniform(0.5, 1))

    async def _call(self, *, hangs: bool) -> None:
        if not hangs:
            await asyncio.sleep(0.05)
            return
        self.calls += 1
        try:
            await asyncio.sleep(TOTAL_TIMEOUT_S)
        finally:
            self.calls -= 1
        raise CallbackFailedError("TimeoutError")

    async def refuse(self, url: str) -> None:
        with pytest.raises(CallbackFailedError):
            async with self.receivers.calling(url):
                raise CallbackFailedError("ClientConnectorError")

    def hang(self, hosts: int, events: int) -> list[asyncio.Task[float]]:
        urls = [f"https://{n % hosts}.example/" for n in range(events)]
        return [asyncio.create_task(self.deliver(url, hangs=True)) for url in urls]

    async def delivered(self, urls: list[str]) -> float:
        """Return after how many seconds the last one is delivered."""
        async with asyncio.timeout(24 * 3600):
            return max(await asyncio.gather(*map(self.deliver, urls)))


def over_time(scene: Coroutine[Any, Any, None]) -> None:
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        runner.run(scene)


@pytest.mark.parametrize("hosts", [10, 40])
def test_a_receiver_that_failed_once_waits_seconds(hosts):
    async def scene() -> None:
        events = Events()
        for url in GOOD:
            assert await events.deliver(url) < 1
        hanging = events.hang(hosts, hosts * 100)
        await asyncio.sleep(67)
        for url in GOOD:
            await events.refuse(url)

        assert await events.delivered(GOOD) <= 10
        assert not any(one.done() for one in hanging)

    over_time(scene())


@pytest.mark.parametrize("hosts", [10, 40])
def test_a_receiver_that_was_never_called_waits_seconds_with_all_its_events(hosts):
    async def scene() -> None:
        events = Events()
        events.hang(hosts, hosts * 100)
        await asyncio.sleep(2)

        assert await events.delivered(GOOD) < 1
        others = [
            f"{url}{n}" for url in ("https://a.example/", "https://b.example/") for n in "123"
        ]
        assert await events.delivered(others) <= 60

    over_time(scene())


def test_a_receiver_that_answers_does_not_wait_for_many_that_were_never_called():
    async def scene() -> None:
        events = Events()
        for url in GOOD:
            assert await events.deliver(url) < 1
        events.hang(1100, 2200)
        for _ in range(20):
            await asyncio.sleep(10)
            assert await events.delivered(GOOD) < 1

    over_time(scene())


@pytest.mark.parametrize("hosts", [3, 40, 1000])
def test_receivers_that_hang_hold_less_than_half_of_the_places_of_strangers(hosts):
    async def scene() -> None:
        events = Events()
        events.hang(hosts, 2 * hosts)
        await asyncio.sleep(1200)
        events.put_off, held = 0, []
        for _ in range(1200):
            await asyncio.sleep(1)
            held.append(events.calls)

        assert 0 < sum(held) / len(held) <= 32
        assert events.put_off / len(held) <= 50  # publishes in a second

    over_time(scene())
