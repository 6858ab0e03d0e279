"""Task ids that prove themselves: issued by whom, when and for which tenant, without storage.

    01a2b3c4-d5e6-7f01-8a2b-c3d4e5f60718-1405a1b2c3d4e5f60718
    └──────────────── UUIDv7 ──────────┘ │││ └── MAC, 16 hex ──┘
                                         ││└ delay class, 2 hex
                                         │└─ traits, 1 hex digit
                                         └── number of the signing key, 1 hex digit

The MAC is keyed BLAKE2b with 8 bytes of output over (uuid, flags, tenant). UUIDv7: RFC 9562,
section 5.7. Celery takes any string as a task id.
"""

import hmac
import math
import os
import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

_TRACKED = 1
_GROUP = 2
_APPS = 4
_SHAPE = re.compile(
    r"([0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12})"
    r"-([0-9a-f]{4})([0-9a-f]{16})"
)
_VARIANT = {digit: "89ab"[int(digit, 16) & 3] for digit in "0123456789abcdef"}
"""A random hex digit → the digit with UUIDv7's variant bits in front of two random ones."""
_ENTROPY_BLOCK = 10 * 512
"""Bytes of randomness fetched at once: one system call for 512 ids."""


@dataclass(frozen=True, slots=True)
class IssuedId:
    """What a verified id says of itself."""

    text: str
    """The id."""
    issued_at: float
    """When the gateway accepted the task, unix seconds with milliseconds."""
    tracked: bool
    """Whether one state and result exist for it."""
    due_by: float
    """Upper bound of the time at which the task was due to start, unix seconds."""
    group: bool = False
    """Whether it is the id of a group of tasks, and of no task."""
    apps: bool = False
    """Whether its message went where workers may take it that know nothing of this project: they
    are asked to revoke it, and alone say how it ended."""
    by_others: bool = False
    """Whether Celery's client made it: `issued_at` is unknown then."""


def vouched_for(text: str) -> IssuedId:
    """Return an id of Celery's client: a saved group names it, so it exists."""
    return IssuedId(text, issued_at=0, tracked=True, due_by=math.inf, by_others=True)


class TaskIds:
    """Issues and verifies task ids.

    Args:
        keys: (number 0–15, key of 16–64 bytes). The first signs, all verify, so that old keys
            stay valid while a new one is rolled out.
    """

    def __init__(self, keys: Iterable[tuple[int, bytes]]) -> None:
        self._keys = dict(keys)
        self._signing_number = next(iter(self._keys))
        self._signing_digit = f"{self._signing_number:x}"
        self._signing = blake2b(digest_size=8, key=self._keys[self._signing_number])
        self._entropy = ""
        self._offset = 0
        self._millis = 0
        self._head = ""

    def issue(
        self,
        tenant: str,
        *,
        tracked: bool = True,
        delay_s: int = 0,
        group: bool = False,
        apps: bool = False,
    ) -> str:
        """Return a new id, unique and unguessable.

        Args:
            tenant: The only one (besides `admin`) to whom the id will be known.
            tracked: False where no single result can exist.
            delay_s: Whole seconds until the task is due; kept as its power of two.
            group: Whether it names a group of tasks.
            apps: Whether it is sent to what an app owns.
        """
        millis = time.time_ns() // 1_000_000
        offset = self._offset
        if offset >= len(self._entropy):
            self._entropy = os.urandom(_ENTROPY_BLOCK).hex()
            offset = 0
        self._offset = end = offset + 20
        rand = self._entropy[offset:end]
        if millis != self._millis:
            head = f"{millis:012x}"
            self._millis, self._head = millis, f"{head[:8]}-{head[8:]}-7"
        uuid = f"{self._head}{rand[:3]}-{_VARIANT[rand[3]]}{rand[4:7]}-{rand[7:19]}"
        traits = (_TRACKED if tracked else 0) | (_GROUP if group else 0) | (_APPS if apps else 0)
        flags = f"{self._signing_digit}{traits:x}{delay_s.bit_length():02x}"
        mac = self._signing.copy()
        mac.update(f"{uuid}{flags}{tenant}".encode())
        return f"{uuid}-{flags}{mac.hexdigest()}"

    def verify(self, text: str, tenants: Iterable[str]) -> IssuedId | None:
        """Return what the id says, or None when it was never issued to any of the tenants."""
        return None if self.issued_to(text, tenants) is None else claims(text)

    def issued_to(self, text: str, tenants: Iterable[str]) -> str | None:
        """Return the tenant to whom the id was issued; None: to none of them.

        Args:
            text: The id.
            tenants: The likeliest first: each takes a microsecond.
        """
        if _SHAPE.fullmatch(text) is None:
            return None
        head, mac = text[:-16], text[-16:]
        key = self._keys.get(int(head[37], 16))
        if key is None:
            return None
        signing = blake2b(digest_size=8, key=key)
        signing.update(f"{head[:36]}{head[37:]}".encode())
        for tenant in tenants:
            candidate = signing.copy()
            candidate.update(tenant.encode())
            if hmac.compare_digest(candidate.hexdigest(), mac):
                return tenant
        return None


def claims(text: str) -> IssuedId | None:
    """Return what an id says of itself, true or not; None when it has another shape.

    For ids that were verified before, or that only an operator can have made.
    """
    shape = _SHAPE.fullmatch(text)
    if shape is None:
        return None
    uuid, flags, _ = shape.groups()
    issued_at = int(uuid[:8] + uuid[9:13], 16) / 1000
    traits = int(flags[1], 16)
    return IssuedId(
        text=text,
        issued_at=issued_at,
        tracked=bool(traits & _TRACKED),
        due_by=issued_at + (1 << int(flags[2:], 16)) - 1,
        group=bool(traits & _GROUP),
        apps=bool(traits & _APPS),
    )
