"""API keys: hashes read from a file, looked up once per request, the file watched."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from hashlib import blake2b, sha256
from pathlib import Path

from gateway.access.auth import ANONYMOUS, Caller
from gateway.access.key_tables import KeysFileError
from gateway.access.keys_file import read_keys
from gateway.errors import Problem
from penstock.looper import Looper

log = logging.getLogger(__name__)

WATCH_INTERVAL_S = 1.0
"""How often the file is looked at."""
READ_TIMEOUT_S = 10.0
"""Of a file on a disk that does not answer."""
_MAX_CACHED = 4096
"""`Authorization` headers remembered; only of valid keys, so guessing cannot fill it."""
_MAX_KEY_CHARACTERS = 1024

_Stamp = tuple[int, int, int]


class KeyRing:
    """The configured keys. No keys file: everybody is the anonymous caller.

    A key is found by the SHA-256 digest of what was presented: how long that takes tells nothing
    about how much of a guess was right.

    Args:
        path: The keys file; None: anonymous access.

    Raises:
        KeysFileError: The file cannot be used; holds every fault.
    """

    def __init__(self, path: Path | None = None) -> None:
        self._path = path
        self._stamp = _stamp(path) if path else None
        self._callers: dict[bytes, Caller] = read_keys(path) if path else {}
        self._cache: dict[str, Caller] = {}
        self._tenants = self._known_tenants()
        self._by_mark = self._marked()
        self.on_change: list[Callable[[], Awaitable[None]]] = []
        """Called after each change of the keys, for what outlives a request."""
        self.looper = Looper(
            "keyring",
            self._turn,
            interval_s=WATCH_INTERVAL_S,
            deadline_s=READ_TIMEOUT_S,
            longest_wait_s=WATCH_INTERVAL_S,
            expected=(KeysFileError, OSError),
        )
        """Looks at the file again and again."""

    def __repr__(self) -> str:
        """How many keys, and of how many tenants."""
        return f"<KeyRing {len(self._callers)} keys, {len(self._tenants)} tenants>"

    def caller(self, authorization: str | None) -> Caller:
        """Who holds the key of an `Authorization` header.

        Raises:
            Problem: `unauthenticated` (queued: no).
        """
        if self._path is None:
            return ANONYMOUS
        caller = self._cache.get(authorization or "")
        if caller is not None:
            return caller
        if not authorization:
            raise _unauthenticated("send Authorization: Bearer <key>")
        scheme, _, key = authorization.partition(" ")
        key = key.strip()
        if scheme.lower() != "bearer" or not key or len(key) > _MAX_KEY_CHARACTERS:
            raise _unauthenticated("the header is not of the form Authorization: Bearer <key>")
        # surrogateescape: aiohttp decodes header bytes that are not UTF-8 that way.
        caller = self._callers.get(sha256(key.encode("utf-8", "surrogateescape")).digest())
        if caller is None:
            raise _unauthenticated("no such key")
        if len(self._cache) >= _MAX_CACHED:
            self._cache.clear()
        self._cache[authorization] = caller
        return caller

    def holds(self, caller: Caller) -> bool:
        """Return whether the caller's key is still there, with the rights that it had."""
        if self._path is None:
            return True
        now = self._callers.get(caller.digest)
        return now is caller or (now is not None and now.rights == caller.rights)

    def marked(self, mark: bytes) -> Caller | None:
        """Return the holder of the key with this mark, see `mark_of`; None: there is none."""
        return self._by_mark.get(mark)

    @property
    def tenants(self) -> frozenset[str]:
        """Every tenant there is, for `admin`; with the anonymous one, who may have been before."""
        return self._tenants

    def named(self, name: str) -> Caller | None:
        """The caller whose key has this name; None: there is no such key (any more)."""
        return next((one for one in self._callers.values() if one.name == name), None)

    @property
    def version(self) -> object:
        """Another object after each change of the keys."""
        return self._callers

    @property
    def configured(self) -> bool:
        """Whether there are keys at all; without, everybody may do everything."""
        return self._path is not None

    async def refresh(self) -> bool:
        """Look at the file once and take its keys when it changed.

        Returns:
            Whether the keys are new.

        Raises:
            KeysFileError: The file cannot be used: the old keys stay, and it is read again the
                next time, whether or not it changes until then.
        """
        if self._path is None:
            return False
        stamp = await asyncio.to_thread(_stamp, self._path)
        if stamp == self._stamp:
            return False
        self._callers = await asyncio.to_thread(read_keys, self._path)
        self._cache.clear()
        self._tenants = self._known_tenants()
        self._by_mark = self._marked()
        for tell in self.on_change:
            await tell()
        self._stamp = stamp  # last: what failed on the way is done again
        log.info("keys-reloaded", extra={"keys": len(self._callers)})
        return True

    async def _turn(self) -> None:
        await self.refresh()

    def _marked(self) -> dict[bytes, Caller]:
        callers = self._callers.values() if self._path else (ANONYMOUS,)
        return {mark_of(one): one for one in callers}

    def _known_tenants(self) -> frozenset[str]:
        return frozenset({ANONYMOUS.tenant, *(one.tenant for one in self._callers.values())})


def mark_of(caller: Caller) -> bytes:
    """Return eight octets that stand for the caller's key where its digest must not be shown."""
    return blake2b(caller.digest, digest_size=8, person=b"penstock-key").digest()


def _stamp(path: Path) -> _Stamp | None:
    """What changes when the file is written or replaced; None while it is not there."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def _unauthenticated(detail: str) -> Problem:
    return Problem("unauthenticated", detail, queued="no")
