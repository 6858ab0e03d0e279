"""When is a server ready: small questions over plain sockets, asked until they are answered."""

import asyncio
import contextlib
import ssl
import time
from collections.abc import Awaitable, Callable

import aiohttp

from devstack.certificates import TLS_HOST
from devstack.children import Child
from devstack.errors import StartError
from devstack.ports import LOOPBACK

Probe = Callable[[], Awaitable[bool]]

_ASK_EVERY_S = 0.1
_ANSWER_WITHIN_S = 5.0


async def until_ready(child: Child, probe: Probe, timeout_s: float) -> None:
    """Wait until the probe says yes.

    Args:
        child: The process that is starting; its death ends the wait at once.
        probe: Asked ten times a second; an `OSError`, a `TimeoutError`, or a broken answer is
            a no.
        timeout_s: Seconds that it may take.

    Raises:
        StartError: the process ended, or is not ready in time; with the end of its log.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        with contextlib.suppress(OSError, TimeoutError, EOFError, aiohttp.ClientError):
            async with asyncio.timeout(_ANSWER_WITHIN_S):
                if await probe():
                    return
        if not child.running:
            raise StartError(
                f"{child.name} ended with status {child.returncode} while starting; "
                f"the end of {child.log}:\n{child.log_tail()}"
            )
        if time.monotonic() > deadline:
            raise StartError(
                f"{child.name} was not ready within {timeout_s:g} s; "
                f"the end of {child.log}:\n{child.log_tail()}"
            )
        await asyncio.sleep(_ASK_EVERY_S)


async def ask(
    port: int, question: bytes, answer_bytes: int, tls: ssl.SSLContext | None = None
) -> bytes:
    """Send bytes to a loopback port and read that many bytes of answer.

    Raises:
        OSError: nobody listens, or the connection was lost.
        EOFError: the answer is shorter.
    """
    name = TLS_HOST if tls else None
    reader, writer = await asyncio.open_connection(LOOPBACK, port, ssl=tls, server_hostname=name)
    try:
        writer.write(question)
        return await reader.readexactly(answer_bytes)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


async def listens(port: int) -> bool:
    """Tell whether a loopback port takes connections."""
    await ask(port, b"", 0)
    return True


async def http_status(url: str, tls: ssl.SSLContext | None = None) -> int:
    """Return the status of a GET; credentials are taken from the URL."""
    async with aiohttp.ClientSession() as session, session.get(url, ssl=tls or True) as response:
        return response.status
