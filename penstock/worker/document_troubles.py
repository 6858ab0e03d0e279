"""What this process reports of documents that wait for MongoDB, or that it refused.

Noting is adding to a dict; `tally` writes it every few seconds, while there is something to report.
"""

import os
import platform
import time
from typing import TypeVar

from redis import Redis
from redis.client import Pipeline

from penstock.wire.document_troubles import (
    MOST_COLLECTIONS,
    REFUSED_FOR_S,
    TROUBLES_KEY,
    WAITS_LULL_S,
    Refused,
    Troubles,
    Waits,
    decode_troubles,
)

MAX_WORDS = 200

_Note = TypeVar("_Note", Waits, Refused)

troubles = Troubles()
"""Of this process. Threads of a pool note here, and may lose one note in a race."""


def waits(collection: str, words: str, batch: str, *, lasting: bool) -> None:
    """Note that a batch was not stored, and waits.

    Args:
        collection: Its collection.
        words: Why.
        batch: The task.
        lasting: Whether MongoDB refuses some of its documents alone.
    """
    now = time.time()
    known = troubles.waits.get(collection)
    since = known.since if known is not None and now < known.over_at else now
    words = without_values(words)
    note = Waits(since=since, last=now, words=words, batch=batch, lasting=lasting)
    _keep(troubles.waits, collection, note)


def stored(collection: str) -> None:
    """Note that a batch was stored, if one of its collection was not before."""
    known = troubles.waits.get(collection)
    if known is None or known.lasting:
        return
    troubles.waits.pop(collection, None)
    troubles.stored[collection] = time.time()


def refused(collection: str, documents: int, reason: str, batch: str) -> None:
    """Note that documents of a batch were given up.

    Args:
        collection: Their collection.
        documents: How many.
        reason: Of one of them.
        batch: The task.
    """
    now = time.time()
    known = troubles.refused.get(collection)
    if known is not None and now - known.last > REFUSED_FOR_S:
        known = None
    note = Refused(
        since=now if known is None else known.since,
        last=now,
        documents=documents + (0 if known is None else known.documents),
        reason=without_values(reason),
        batch=batch,
    )
    _keep(troubles.refused, collection, note)


def without_values(text: str) -> str:
    """Return the words of MongoDB up to where it quotes a document: other tenants may read them."""
    for mark in ("{", "(", " dup key"):
        text = text.partition(mark)[0]
    return text.strip(" :")[:MAX_WORDS]


def _keep(notes: dict[str, _Note], collection: str, note: _Note) -> None:
    if collection not in notes and len(notes) >= MOST_COLLECTIONS:
        notes.pop(min(notes, key=lambda name: notes[name].last), None)
    notes[collection] = note


class Report:
    """Writes the field of this process, and removes it once there is nothing to report.

    Args:
        client: Redis.
    """

    def __init__(self, client: Redis) -> None:
        self._client = client
        self._field = f"{platform.node()}:{os.getpid()}"
        self._written = False

    def __repr__(self) -> str:
        """Tell whether there is something to report."""
        return f"<Report {self._field}{' written' if self._written else ''}>"

    def write(self, pipe: Pipeline) -> None:
        """Write what is so now, with what else the pipe has; nothing while all is well.

        Raises:
            RedisError: Redis is away.
        """
        now = time.time()
        current = _current(now)
        if current.waits or current.refused or current.stored:
            if not self._written:
                self._tidy_up(now)
            pipe.hset(TROUBLES_KEY, self._field, current.encode())
            self._written = True
        elif self._written:
            pipe.hdel(TROUBLES_KEY, self._field)
            self._written = False

    def _tidy_up(self, now: float) -> None:
        """Remove what processes have left that are long gone."""
        for name, value in self._client.hgetall(TROUBLES_KEY).items():
            found = decode_troubles([value])
            if not found or now - found[0].seen > REFUSED_FOR_S:
                self._client.hdel(TROUBLES_KEY, name)


def _current(now: float) -> Troubles:
    """Forget what is long over, and return the rest."""
    for name, wait in list(troubles.waits.items()):
        if now > wait.over_at:
            troubles.waits.pop(name, None)
    for name, given_up in list(troubles.refused.items()):
        if now - given_up.last > REFUSED_FOR_S:
            troubles.refused.pop(name, None)
    for name, at in list(troubles.stored.items()):
        if now - at > WAITS_LULL_S:
            troubles.stored.pop(name, None)
    return Troubles(
        seen=now,
        waits=dict(list(troubles.waits.items())),
        refused=dict(list(troubles.refused.items())),
        stored=dict(list(troubles.stored.items())),
    )


def forget() -> None:
    """Begin with nothing: a process of a prefork pool has its parent's notes from the fork."""
    troubles.waits.clear()
    troubles.refused.clear()
    troubles.stored.clear()
