"""Addresses of receivers, looked up in threads of their own: a name server that does not answer.

A thread that waits for one cannot be stopped, also when its callback has long failed. So each name
has at most one thread, whose answer all callbacks to it share, and no other part of the process
waits for these threads. No name waits for a thread: the last ones are for names that have been
found before, and where none is free, the look-up fails at once.
"""

import asyncio
import ipaddress
import socket
from collections import OrderedDict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any, Final

from aiohttp.abc import AbstractResolver, ResolveResult

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_THREADS: Final = 64
_FOR_ANY_NAME: Final = 48
"""Threads that a name may take which was not found at its last look-up."""
_REMEMBERED: Final = 4096
"""Names that were found, the latest ones."""
_NUMERIC: Final = socket.AI_NUMERICHOST | socket.AI_NUMERICSERV

LookUp = Callable[..., list[Any]]
"""As `socket.getaddrinfo`."""


class NotLookedUpError(OSError):
    """Too many names are being looked up: this one was not."""


class Resolver(AbstractResolver):
    """Resolves names; the connection goes to what was looked at here.

    Args:
        private: Whether addresses that are not public are answered, too.
        look_up: Blocks until it has an answer.
    """

    def __init__(self, *, private: bool, look_up: LookUp = socket.getaddrinfo) -> None:
        self._private = private
        self._look_up = look_up
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="callback-names")
        self._under_way: dict[tuple[str, int], asyncio.Future[list[Any]]] = {}
        self._found_before: OrderedDict[tuple[str, int], None] = OrderedDict()

    def __repr__(self) -> str:
        """Count the names that are being looked up."""
        return f"<Resolver {len(self._under_way)} under way>"

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """The addresses of a host.

        Raises:
            NotLookedUpError: No thread is free for it.
            OSError: It has none, or none that is public.
        """
        found = [_result(host, port, one) for one in await self._found(host, family)]
        kept = [one for one in found if self._private or is_public(one["host"])]
        if not kept:
            raise OSError(f"{host} has no public address")
        return kept

    def _found(self, host: str, family: int) -> "asyncio.Future[list[Any]]":
        key = (host, family)
        answer = self._under_way.get(key)
        if answer is None:
            threads = _THREADS if key in self._found_before else _FOR_ANY_NAME
            if len(self._under_way) >= threads:
                raise NotLookedUpError(
                    socket.EAI_AGAIN,
                    f"{host} was not looked up: {len(self._under_way)} other names are, "
                    f"and at most {threads} may be",
                )
            self._found_before.pop(key, None)
            look_up = partial(
                self._look_up, host, 0, family, socket.SOCK_STREAM, 0, socket.AI_ADDRCONFIG
            )
            answer = asyncio.get_running_loop().run_in_executor(self._threads, look_up)
            self._under_way[key] = answer
            answer.add_done_callback(partial(self._done, key))
        return asyncio.shield(answer)

    def _done(self, key: tuple[str, int], answer: "asyncio.Future[list[Any]]") -> None:
        del self._under_way[key]
        if answer.cancelled() or answer.exception() is not None:
            return
        self._found_before[key] = None
        if len(self._found_before) > _REMEMBERED:
            self._found_before.popitem(last=False)

    async def close(self) -> None:
        """Look nothing up any more."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _result(host: str, port: int, info: Any) -> ResolveResult:
    family, _, proto, _, address = info
    resolved: str = address[0]
    if family == socket.AF_INET6 and len(address) > 3 and address[3] and "%" not in resolved:
        resolved = f"{resolved}%{address[3]}"  # a link-local address says which link
    return ResolveResult(
        hostname=host, host=resolved, port=port, family=family, proto=proto, flags=_NUMERIC
    )


def is_public(address: str) -> bool:
    """Whether an IP address is one of the Internet, whatever it is wrapped in."""
    ip = ipaddress.ip_address(address.partition("%")[0])
    if isinstance(ip, ipaddress.IPv6Address):
        inner = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inner = ipaddress.IPv4Address(int(ip) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(str(inner))
    return ip.is_global and not ip.is_multicast
