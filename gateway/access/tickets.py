"""Tickets: what a browser shows in a URL in place of a key, for ten minutes and reading only.

    version, signing key, traits, expiry │ mark     │ tenant │ fingerprint of each id … │ MAC
    1 octet each, 4 octets               │ 8 octets │ n, n   │ 8 octets each            │ 16 octets

Signed with the keys of the task ids, in a domain of their own, so that no signature of one kind
is one of the other. A ticket goes with the API key that it was made with, which the mark names:
once that is removed, or may no longer read for this tenant, it opens nothing.

Only streams take tickets. That of an `admin` key shows the states and lines of other tenants too,
where it was asked to, or names their ids.
"""

import base64
import binascii
import hmac
import struct
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b

from gateway.access.auth import Caller
from gateway.access.keyring import KeyRing, mark_of
from gateway.errors import Problem

VALID_S = 600
"""How long a ticket is good; it may be used again and again."""
MAX_IDS = 400
"""Ids of one ticket: more would not fit in the longest URL that is read."""
_HEAD = struct.Struct(">BBBI8s")
_VERSION = 2
_ADMIN, _SOME_IDS = 1, 2
_MAC_BYTES = 16
_DOMAIN = b"penstock-ticket"


@dataclass(frozen=True, slots=True)
class Ticket:
    """What a valid ticket allows."""

    key: Caller
    """Whose key it was made with."""
    caller: Caller
    """The same with the scope `read`, and `admin` where it is for tasks of any tenant."""
    fingerprints: frozenset[bytes] | None
    """Of the ids it is good for; None: all of the tenant's, or of every tenant's."""

    def covers(self, task_id: str) -> bool:
        """Whether it is good for the id."""
        return self.fingerprints is None or _fingerprint(task_id) in self.fingerprints


class Tickets:
    """Issues and checks tickets.

    Args:
        keys: (number 0-15, key); the first signs, all verify.
        keyring: Knows whose API key a ticket was made with.
    """

    def __init__(self, keys: Iterable[tuple[int, bytes]], keyring: KeyRing) -> None:
        self._keyring = keyring
        self._keys = dict(keys)
        self._signing_number = next(iter(self._keys))

    def issue(
        self, caller: Caller, ids: Iterable[str] | None, *, every_tenant: bool = False
    ) -> tuple[str, float]:
        """A ticket, and when it expires (unix seconds).

        Args:
            caller: Who asks; `admin` reads other tenants' tasks by it, if ids are named.
            ids: Ids that it is good for, at most `MAX_IDS`; None: all of the tenant's.
            every_tenant: Whether that of an `admin` key without ids is for all tasks.
        """
        expires_at = int(time.time()) + VALID_S
        wide = caller.admin and (every_tenant or ids is not None)
        traits = (0 if ids is None else _SOME_IDS) | (_ADMIN if wide else 0)
        tenant = caller.tenant.encode()
        body = b"".join(
            (
                _HEAD.pack(_VERSION, self._signing_number, traits, expires_at, mark_of(caller)),
                len(tenant).to_bytes(2, "big"),
                tenant,
                *map(_fingerprint, ids or ()),
            )
        )
        signed = body + self._mac(self._signing_number, body)
        return base64.urlsafe_b64encode(signed).rstrip(b"=").decode(), float(expires_at)

    def check(self, text: str) -> Ticket:
        """What a ticket allows.

        Raises:
            Problem: `invalid-ticket`.
        """
        try:
            signed = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _invalid("it is not base64url") from None
        body, mac = signed[:-_MAC_BYTES], signed[-_MAC_BYTES:]
        if len(body) < _HEAD.size + 2:
            raise _invalid("it is too short")
        version, number, traits, expires_at, mark = _HEAD.unpack_from(body)
        if version != _VERSION or number not in self._keys:
            raise _invalid("nobody here issued it")
        if not hmac.compare_digest(self._mac(number, body), mac):
            raise _invalid("nobody here issued it")
        if time.time() > expires_at:
            raise _invalid("it has expired")
        start = _HEAD.size + 2
        end = start + int.from_bytes(body[_HEAD.size : start], "big")
        key = self._keyring.marked(mark)
        if key is None or not key.may("read") or key.tenant.encode() != body[start:end]:
            raise _invalid("the key that it was made with is gone")
        admin = traits & _ADMIN and key.admin
        return Ticket(
            key,
            replace(key, scopes=frozenset({"read", "admin"} if admin else {"read"})),
            frozenset(body[at : at + 8] for at in range(end, len(body), 8))
            if traits & _SOME_IDS
            else None,
        )

    def _mac(self, number: int, body: bytes) -> bytes:
        key = self._keys[number]
        return blake2b(body, digest_size=_MAC_BYTES, key=key, person=_DOMAIN).digest()


def _fingerprint(task_id: str) -> bytes:
    return blake2b(task_id.encode(), digest_size=8).digest()


def _invalid(reason: str) -> Problem:
    return Problem("invalid-ticket", f"the ticket is not valid: {reason}")
