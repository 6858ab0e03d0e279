"""The proxy that faults are made with."""

import asyncio
import contextlib
import time

import pytest
import pytest_asyncio

from devstack.ports import free_port
from devstack.proxy import Direction, TcpProxy
from tests.support.waiting import eventually


@pytest_asyncio.fixture
async def echo_port():
    """A server that answers what it hears."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while chunk := await reader.read(1000):
            writer.write(chunk)
        writer.close()

    port = free_port()
    server = await asyncio.start_server(answer, "127.0.0.1", port)
    yield port
    server.close()


@pytest_asyncio.fixture
async def proxy(echo_port: int):
    async with TcpProxy(echo_port) as running:
        yield running


@contextlib.asynccontextmanager
async def connected(proxy: TcpProxy):
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def test_bytes_pass_both_ways_and_are_counted(proxy: TcpProxy):
    async with connected(proxy) as (reader, writer):
        writer.write(b"hello")

        assert await reader.readexactly(5) == b"hello"
        assert proxy.passed_bytes == {Direction.TO_SERVER: 5, Direction.TO_CLIENT: 5}
    await eventually(lambda: proxy.connections == 0)


async def test_cut_resets_open_connections_and_takes_new_ones(proxy: TcpProxy):
    async with connected(proxy) as (reader, _):
        await eventually(lambda: proxy.connections == 1)
        proxy.cut()
        assert await ended(reader)

    await assert_passes(proxy)


async def test_cut_with_refuse_also_ends_new_connections_until_resume(proxy: TcpProxy):
    proxy.cut(refuse=True)
    async with connected(proxy) as (reader, _):
        assert await ended(reader)

    proxy.resume()
    await assert_passes(proxy)


async def test_a_stalled_direction_holds_bytes_until_resume(proxy: TcpProxy):
    async with connected(proxy) as (reader, writer):
        proxy.stall(Direction.TO_CLIENT)
        writer.write(b"hello")
        await eventually(lambda: proxy.passed_bytes[Direction.TO_SERVER] == 5)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.readexactly(1), 0.2)

        proxy.resume()
        assert await reader.readexactly(5) == b"hello"


async def test_cut_after_passes_exactly_that_many_bytes(proxy: TcpProxy):
    async with connected(proxy) as (reader, writer):
        proxy.cut_after(3, Direction.TO_CLIENT)
        writer.write(b"hello")

        assert await reader.readexactly(3) == b"hel"
        assert await ended(reader)
        assert proxy.passed_bytes[Direction.TO_CLIENT] == 3


def test_an_address_is_rewritten_to_lead_through_the_proxy():
    proxy = TcpProxy(5672, port=1234)
    assert proxy.url_through("amqp://u:p%40@127.0.0.1:5672/v") == "amqp://u:p%40@127.0.0.1:1234/v"


async def assert_passes(proxy: TcpProxy):
    async with connected(proxy) as (reader, writer):
        writer.write(b"again")
        assert await reader.readexactly(5) == b"again"


async def ended(reader: asyncio.StreamReader) -> bool:
    try:
        return await asyncio.wait_for(reader.read(1), 2) == b""
    except ConnectionResetError:
        return True


async def test_a_proxy_that_is_far_away_passes_everything_in_order_and_late(echo_port: int):
    words = [bytes([number]) * 1000 for number in range(50)]
    async with (
        TcpProxy(echo_port, away_s=0.1) as far,
        connected(far) as (reader, writer),
    ):
        began = time.monotonic()
        for word in words:
            writer.write(word)
            await writer.drain()
            await asyncio.sleep(0)

        assert await reader.readexactly(50_000) == b"".join(words)
        assert time.monotonic() - began >= 0.2
        writer.write_eof()
        assert await reader.read() == b""
