"""Receivers of callbacks that hang: each holds up its own callbacks, and no others."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from gateway.api import parts
from gateway.endings import callback_events
from gateway.endings.callback_events import CallbackEvent
from tests.deployment.gateway import Gateway
from tests.integration.test_bulk_request import depth
from tests.support.receiver import Receiver, receiving
from tests.support.waiting import eventually


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        yield running


@pytest.fixture
async def dead() -> AsyncIterator[Receiver]:
    async with receiving() as running:
        running.hang = asyncio.Event()
        yield running


@pytest.fixture
async def calling(make_gateway) -> Gateway:
    gateway: Gateway = await make_gateway(
        callback_hosts=("127.0.0.1",), callback_private=True, callback_secret=b"secret"
    )
    return gateway


async def announce(gateway: Gateway, receiver: Receiver, *ids: str, **members: Any) -> None:
    events = gateway.app[parts.ENDINGS].events
    url = receiver.url()
    made = [
        CallbackEvent(event=one.ljust(36, "-"), id=one, url=url, state="SUCCESS", **members)
        for one in ids
    ]
    await asyncio.gather(*(events.announce(event) for event in made))


async def test_a_receiver_that_hangs_holds_up_nobody_else(calling, receiver, dead):
    await announce(calling, dead, *(f"dead{n}" for n in range(1000)))
    began = time.monotonic()
    await announce(calling, receiver, "other")
    await receiver.called("other", 8)

    assert time.monotonic() - began < 8
    assert len(dead.calls) <= 10


async def test_several_that_hang_hold_up_nobody_else(calling, receiver):
    await announce(calling, receiver, "before")
    await receiver.called("before")
    async with receiving() as second, receiving() as third, receiving() as fourth:
        for number, one in enumerate((second, third, fourth)):
            one.hang = asyncio.Event()
            await announce(calling, one, *(f"dead{number}-{n}" for n in range(100)))
        await announce(calling, receiver, *(f"other{n}" for n in range(100)))
        await eventually(lambda: len(receiver.calls) == 101, 8)


async def test_a_receiver_that_was_cut_off_once_is_called_again_within_seconds(calling, receiver):
    async with AsyncExitStack() as others:
        for number in range(20):
            other = await others.enter_async_context(receiving())
            other.hang = asyncio.Event()
            await announce(calling, other, *(f"dead{number}-{n}" for n in range(50)))
        receiver.cut = 1
        await announce(calling, receiver, "cut")
        await eventually(lambda: len(receiver.of("cut")) == 2, 20)


async def test_what_was_put_off_is_delivered_once_the_receiver_answers(calling, dead, amqp_url):
    ids = {f"late{n}" for n in range(100)}
    await announce(calling, dead, *ids)
    await eventually(lambda: len(dead.calls) >= 8, 10)
    assert dead.hang is not None
    dead.hang.set()
    await eventually(lambda: {call.json["id"] for call in dead.calls} == ids, 40)

    assert set(Counter(call.headers["X-Penstock-Event"] for call in dead.calls).values()) == {1}
    assert await depth(amqp_url, "callbacks.dead") == 0


async def test_a_burst_for_a_receiver_that_answers_is_delivered_as_it_comes(calling, receiver):
    ids = {f"one{n}" for n in range(500)}
    await announce(calling, receiver, *ids)
    await eventually(lambda: {call.json["id"] for call in receiver.calls} == ids, 10)

    assert len(receiver.calls) == len(ids)


async def test_an_event_that_was_put_off_for_a_day_is_given_up_while_its_receiver_is_silent(
    calling, dead, amqp_url
):
    yesterday = time.time() - callback_events.GIVE_UP_S - 1
    dead.cut = 2
    await announce(calling, dead, "first")
    await eventually(lambda: len(dead.calls) == 2, 20)
    await announce(calling, dead, *(f"old{n}" for n in range(10)), put_off_at=yesterday)

    async def given_up() -> bool:
        return await depth(amqp_url, "callbacks.dead") == 10

    await eventually(given_up, 10)
    assert len(dead.calls) == 2
