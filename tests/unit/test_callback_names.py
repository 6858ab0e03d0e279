"""Looking up names of receivers: one that hangs holds up no other."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.config import GatewayConfig
from gateway.endings.callback_names import LookUp, NotLookedUpError, Resolver
from gateway.endings.callback_post import CallbackFailedError, CallbackPost


class NameServers:
    """Answer for every host but `hangs.<…>`, whose names wait until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.address = "93.184.215.14"
        self.asked: Counter[str] = Counter()

    def look_up(self, host: str, port: int, family: int, *_: int) -> list[Any]:
        self.asked[host] += 1
        if host.startswith("hangs."):
            self.over.wait(30)
        address = "10.0.0.1" if host.startswith("private.") else self.address
        return [(family, socket.SOCK_STREAM, 6, "", (address, port))]


@pytest.fixture
def servers() -> Iterator[NameServers]:
    servers = NameServers()
    yield servers
    servers.over.set()


async def addresses(resolver: Resolver, host: str) -> list[str]:
    return [one["host"] for one in await resolver.resolve(host, 443)]


async def test_a_name_that_hangs_holds_up_no_other(servers):
    look_up: LookUp = servers.look_up
    resolver = Resolver(private=False, look_up=look_up)
    hanging = [asyncio.create_task(addresses(resolver, "hangs.example")) for _ in range(200)]
    names = [f"hangs.{n}.example" for n in range(20)]
    hanging += [asyncio.create_task(addresses(resolver, name)) for name in names]
    async with asyncio.timeout(5):
        assert await addresses(resolver, "a.example") == ["93.184.215.14"]
    assert servers.asked["hangs.example"] == 1
    hanging[0].cancel()  # one that leaves takes the answer from nobody
    servers.over.set()

    answers = await asyncio.gather(*hanging, return_exceptions=True)
    assert isinstance(answers[0], asyncio.CancelledError)
    assert answers[1:] == [["93.184.215.14"]] * 219
    assert repr(resolver) == "<Resolver 0 under way>"
    await resolver.close()


async def test_names_that_hang_leave_threads_to_names_that_were_found_before(servers):
    resolver = Resolver(private=False, look_up=servers.look_up)
    known = [f"known.{n}.example" for n in range(3)]
    for name in known:
        await addresses(resolver, name)
    names = [f"hangs.{n}.example" for n in range(60)]
    hanging = [asyncio.create_task(addresses(resolver, name)) for name in names]
    await asyncio.sleep(0)
    async with asyncio.timeout(5):
        with pytest.raises(NotLookedUpError, match="48 other names are"):
            await addresses(resolver, "new.example")
        for name in known:
            assert await addresses(resolver, name) == ["93.184.215.14"]
    servers.over.set()

    answers = await asyncio.gather(*hanging, return_exceptions=True)
    assert [type(one) for one in answers] == [list] * 48 + [NotLookedUpError] * 12
    assert await addresses(resolver, "new.example") == ["93.184.215.14"]
    await resolver.close()


async def test_a_callback_whose_name_was_not_looked_up_says_nothing_of_its_receiver(servers):
    config = GatewayConfig(
        amqp_url="amqp://unused/",
        redis_url="redis://unused/",
        callback_hosts=("*",),
        callback_secret=b"secret",
    )
    post = CallbackPost(config, look_up=servers.look_up)

    async def failure(name: str) -> CallbackFailedError:
        with pytest.raises(CallbackFailedError) as failed:
            await post.send(f"http://{name}.example/", "event", b"{}")
        return failed.value

    names = [f"hangs.{n}" for n in range(49)]
    failing = [asyncio.create_task(failure(name)) for name in names]
    [first, *_], _ = await asyncio.wait(failing, return_when=asyncio.FIRST_COMPLETED)
    servers.address = "10.0.0.1"
    servers.over.set()
    failures = await asyncio.gather(*failing)

    assert first.result().answered is None
    assert "hangs.48.example was not looked up: 48 other names are" in first.result().reason
    assert [one.answered for one in failures].count(False) == 48
    await post.close()


async def test_private_addresses_are_none_unless_they_may_be_called(servers):
    public = Resolver(private=False, look_up=servers.look_up)
    with pytest.raises(OSError, match="no public address"):
        await addresses(public, "private.example")
    every = Resolver(private=True, look_up=servers.look_up)

    assert await addresses(every, "private.example") == ["10.0.0.1"]
    await public.close()
    await every.close()
