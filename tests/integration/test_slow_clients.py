"""Slow, silent and too many clients against the gateway's own listener, on raw sockets."""

import asyncio
import time
from pathlib import Path

from aiohttp import ClientSession

from devstack.ports import LOOPBACK, free_port
from devstack.product import Launcher
from devstack.programs import child_environment
from tests.deployment.gateway import running_gateway
from tests.deployment.sockets import Socket
from tests.support.waiting import eventually

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
SUBMIT = b"POST /v1/tasks HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
NDJSON = (
    b"POST /v1/tasks/bulk HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n"
)


async def trickle(socket: Socket, octets: bytes, every_s: float) -> None:
    """Write byte by byte until the other side has enough."""
    for octet in octets:
        try:
            await socket.write(bytes((octet,)))
        except ConnectionError:
            return
        await asyncio.sleep(every_s)


async def test_a_head_that_trickles_in_is_refused_when_its_time_is_over():
    async with running_gateway(header_timeout_s=0.4) as gateway:
        socket = await Socket.to(gateway.port)
        started = time.monotonic()
        writing = asyncio.create_task(trickle(socket, HEALTH * 10, 0.05))
        answer = await socket.answer()
        await writing

        assert (answer.status, answer.problem()["code"]) == (400, "invalid-request")
        assert answer.headers["connection"] == "close"
        assert time.monotonic() - started >= 0.4
        assert await socket.end() == b""
        assert not gateway.listener.connections


async def test_a_connection_that_never_says_anything_is_closed_without_a_word():
    async with running_gateway(header_timeout_s=1.5) as gateway:
        silent = await asyncio.gather(*(Socket.to(gateway.port) for _ in range(50)))
        await eventually(lambda: len(gateway.listener.connections) == 50)

        assert {await socket.end() for socket in silent} == {b""}
        assert not gateway.listener.connections


async def test_a_later_head_is_bounded_too_but_a_rest_between_requests_is_not():
    async with running_gateway(header_timeout_s=0.3) as gateway:
        resting, begun = await Socket.to(gateway.port), await Socket.to(gateway.port)
        for socket in (resting, begun):
            await socket.write(HEALTH)
            assert (await socket.answer()).status == 200
        await begun.write(HEALTH[:20])

        assert (await begun.answer()).status == 400
        assert await begun.end() == b""
        await resting.write(HEALTH)
        assert (await resting.answer()).status == 200
        resting.close()


async def test_a_head_in_pieces_within_the_time_is_served():
    async with running_gateway(header_timeout_s=5) as gateway:
        socket = await Socket.to(gateway.port)
        await trickle(socket, HEALTH, 0.001)

        assert (await socket.answer()).status == 200
        socket.close()


async def test_slow_clients_do_not_disturb_a_fast_one():
    async with running_gateway(header_timeout_s=30) as gateway, ClientSession() as fast:
        slow = [await Socket.to(gateway.port) for _ in range(200)]
        for socket in slow:
            await socket.write(HEALTH[:10])
        for _ in range(100):
            async with fast.get(f"http://127.0.0.1:{gateway.port}/healthz") as response:
                assert response.status == 200

        assert len(gateway.listener.connections) == 201
        for socket in slow:
            socket.close()
        await eventually(lambda: len(gateway.listener.connections) == 1)


async def test_requests_that_take_longer_than_a_head_may_are_left_alone():
    async with running_gateway(header_timeout_s=0.2, body_timeout_s=10) as gateway:
        stream = await Socket.to(gateway.port)
        await stream.write(NDJSON + b"Transfer-Encoding: chunked\r\n\r\n")
        for _ in range(6):  # a line now and then, as sensors send them
            await stream.write(b"3\r\n{}\n\r\n")
            await asyncio.sleep(0.1)
        await stream.write(b"0\r\n\r\n")

        answer = await stream.answer()
        assert answer.status == 207
        stream.close()
        async with (
            ClientSession() as session,
            session.ws_connect(f"http://127.0.0.1:{gateway.port}/v1/stream") as watching,
        ):
            await asyncio.sleep(0.5)
            await watching.send_json({"op": "ping"})
            assert (await watching.receive_json())["type"] == "pong"


async def test_a_whole_body_may_not_trickle_in_but_a_stream_may():
    async with running_gateway(body_timeout_s=0.5) as gateway:
        whole, stream = await Socket.to(gateway.port), await Socket.to(gateway.port)
        await whole.write(SUBMIT + b"Content-Length: 1000\r\n\r\n")
        await stream.write(NDJSON + b"Content-Length: 1000\r\n\r\n")
        writing = [
            asyncio.create_task(trickle(socket, b" " * 1000, 0.1)) for socket in (whole, stream)
        ]
        answer = await whole.answer()

        assert (answer.status, answer.problem()["code"]) == (400, "invalid-request")
        assert "slower" in answer.problem()["detail"]
        assert not writing[1].done()
        for task in writing:
            task.cancel()
        await asyncio.gather(*writing, return_exceptions=True)
        silent = await stream.answer()
        assert "no byte" in silent.problem()["detail"]
        for socket in (whole, stream):
            socket.close()


async def test_connections_beyond_the_bound_are_told_so_and_those_within_it_go_on():
    async with running_gateway(max_connections=3) as gateway:
        within = [await Socket.to(gateway.port) for _ in range(3)]
        await eventually(lambda: len(gateway.listener.connections) == 3)
        beyond = await Socket.to(gateway.port)
        await beyond.write(HEALTH)
        refusal = await beyond.answer()

        assert (refusal.status, refusal.problem()["code"]) == (503, "overloaded")
        assert refusal.headers["retry-after"]
        assert await beyond.end() == b""
        beyond.close()
        for socket in within:
            await socket.write(HEALTH)
            assert (await socket.answer()).status == 200
        within[0].close()
        await eventually(lambda: len(gateway.listener.connections) == 2)
        again = await Socket.to(gateway.port)
        await again.write(HEALTH)
        assert (await again.answer()).status == 200
        assert gateway.listener.refused == 1
        for socket in (*within, again):
            socket.close()


async def test_many_more_than_the_bound_leave_nothing_behind():
    async with running_gateway(max_connections=3) as gateway:
        within = [await Socket.to(gateway.port) for _ in range(3)]
        await eventually(lambda: len(gateway.listener.connections) == 3)
        beyond = [await Socket.to(gateway.port) for _ in range(300)]
        assert {await socket.end() for socket in beyond} == {b""}  # each within two seconds

        assert gateway.listener.refused == 300
        assert len(gateway.listener.connections) == 3
        for socket in (*within, *beyond):
            socket.close()


async def test_a_gateway_as_a_process_refuses_connections_beyond_the_bound(tmp_path: Path):
    """On uvloop, whose transports are none of asyncio's."""
    nobody, port = free_port(), free_port()
    env = child_environment(
        MAX_CONNECTIONS="3",
        AMQP_URL=f"amqp://127.0.0.1:{nobody}",
        REDIS_URL=f"redis://127.0.0.1:{nobody}/0",
    )
    gateway = Launcher(env=env, logs=tmp_path).gateway(LOOPBACK, port, "bounded")
    gateway.child.spawn()
    try:
        await eventually(lambda: b'"listening"' in gateway.child.logged(), timeout_s=30)
        within = [await Socket.to(port) for _ in range(3)]
        beyond = await Socket.to(port)
        await beyond.write(HEALTH)
        refusal = await beyond.answer()
        assert (refusal.status, refusal.problem()["code"]) == (503, "overloaded")
        assert await beyond.end() == b""
        silent = await Socket.to(port)
        assert await silent.end() == b""  # within two seconds
        for socket in (*within, beyond, silent):
            socket.close()
    finally:
        await gateway.stop()
