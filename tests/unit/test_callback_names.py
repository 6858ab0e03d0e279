"""Looking up names of receivers: one that hangs holds up no other."""

import asyncio
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pytest

from gateway.endings.callback_names import LookUp, Resolver


class NameServers:
    """Answer for every host but `hangs.<…>`, whose names wait until the test is over."""

    def __init__(self) -> None:
        self.over = threading.Event()
        self.asked: Counter[str] = Counter()

    def look_up(self, host: str, port: int, family: int, *_: int) -> list[Any]:
        self.asked[host] += 1
        if host.startswith("hangs."):
            self.over.wait(30)
        address = "10.0.0.1" if host.startswith("private.") else "93.184.215.14"
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


async def test_private_addresses_are_none_unless_they_may_be_called(servers):
    public = Resolver(private=False, look_up=servers.look_up)
    with pytest.raises(OSError, match="no public address"):
        await addresses(public, "private.example")
    every = Resolver(private=True, look_up=servers.look_up)

    assert await addresses(every, "private.example") == ["10.0.0.1"]
    await public.close()
    await every.close()
