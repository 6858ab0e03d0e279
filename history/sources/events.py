"""Celery's events of workers that are not ours, as facts: best effort, from a bounded queue.

    worker.heartbeat of a worker that no record in Redis announces ──► task.# is bound, too
    an hour without one ─────────────────────────────────────────────► task.# is unbound

Where all workers are ours, the broker sends heartbeats alone. Events of ours are left out: the
records say more. The queue is durable and drops its oldest events when it is full.
"""

import asyncio
import json
import logging
import re
import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

import aio_pika
from aio_pika.abc import AbstractChannel, AbstractExchange, AbstractIncomingMessage, AbstractQueue
from aio_pika.exceptions import AMQPError

from history.redis_client import REDIS_AWAY, HistoryRedis
from history.writing.facts import Change, Error, Facts
from history.writing.lease import Lease
from history.writing.writer import Writer
from penstock.looper import Looper, plain_line
from penstock.wire.announcements import WORKERS_KEY
from penstock.wire.hosts import shuffled
from penstock.wire.names import HISTORY_EVENTS_QUEUE

log = logging.getLogger(__name__)

EXCHANGE = "celeryev"
"""Celery's `event_exchange`."""
ARGUMENTS: Mapping[str, Any] = {
    "x-max-length": 200_000,
    "x-max-length-bytes": 256 * 1024 * 1024,
    "x-overflow": "drop-head",
    "x-expires": 7 * 86_400_000,
}
AWAY = (AMQPError, OSError, TimeoutError, ConnectionError)
BATCH_S = 0.2
PREFETCH = 1_000
STOCK_FOR_S = 3600.0
_CONNECT_S = 5.0
_MAX_ID_CHARS = 512
_MAX_WORD_CHARS = 512
"""Of a name: nothing bounds what a stock worker sends."""
_MAX_EXCEPTION_CHARS = 8 * 1024
"""Of `repr(exception)`."""
_STATES = {
    "task-started": "STARTED",
    "task-succeeded": "SUCCESS",
    "task-failed": "FAILURE",
    "task-retried": "RETRY",
    "task-revoked": "REVOKED",
}
_RANK = {"STARTED": 1, "RETRY": 2}
_KIND = re.compile(r"([A-Za-z_][\w.]*)\(")


def facts_of(events: Iterable[Mapping[str, Any]]) -> list[Facts]:
    """Return what events of stock workers say; what is no event of a task is left out."""
    found = []
    for event in events:
        task_id, at = event.get("uuid"), event.get("timestamp")
        if not isinstance(task_id, str) or len(task_id) > _MAX_ID_CHARS:
            continue
        if not isinstance(at, int | float) or not 0 < at < 1e11:
            continue
        kind = str(event.get("type"))
        facts = Facts(
            task_id=task_id,
            task=_word(event, "name"),
            queue=_word(event, "queue"),
            root=_word(event, "root_id"),
            parent=_word(event, "parent_id"),
            source="events",
        )
        if kind in {"task-sent", "task-received"}:
            facts.accepted_at = _moment(at) if kind == "task-sent" else None
        elif state := _STATES.get(kind):
            _say_state(facts, state, event, float(at))
        else:
            continue
        found.append(facts)
    return found


def _say_state(facts: Facts, state: str, event: Mapping[str, Any], at: float) -> None:
    retries = event.get("retries")
    change = Change(
        cursor=f"{int(at * 1000)}-{_RANK.get(state, 3)}",
        state=state,
        worker=_word(event, "hostname"),
        attempt=retries if isinstance(retries, int) and 0 <= retries < 1 << 31 else None,
    )
    facts.changes.append(change)
    if state == "STARTED":
        facts.started_at = _moment(at)
    if state in {"FAILURE", "RETRY"}:
        facts.error = _error(event)
        change.extras = {"error": {"type": facts.error.kind, "message": facts.error.message[:500]}}


def _error(event: Mapping[str, Any]) -> Error:
    """Read `repr(exception)`, which is all that an event has of it."""
    whole = str(event.get("exception") or "")
    text = whole[:_MAX_EXCEPTION_CHARS].rstrip()
    kind, message = "Exception", text
    matched = _KIND.match(text)
    if matched and (text.endswith(")") or len(whole) > _MAX_EXCEPTION_CHARS):
        kind, message = matched[1], text[matched.end() :].removesuffix(")").strip("'\", ")
    traceback = event.get("traceback")
    return Error(
        kind=kind, message=message, traceback=traceback if isinstance(traceback, str) else None
    )


def _moment(at: float) -> datetime:
    return datetime.fromtimestamp(int(at * 1000) / 1000, UTC)


def _word(event: Mapping[str, Any], name: str) -> str | None:
    value = event.get(name)
    return value[:_MAX_WORD_CHARS] if isinstance(value, str) and value else None


class StockEvents:
    """Consumes events.

    Args:
        url: of RabbitMQ, all hosts of a cluster.
        redis: knows which workers are ours.
        writer: writes what the others say.
        lease: whether to.
        expected: what a turn raises while a server is away.
    """

    def __init__(
        self,
        url: str,
        redis: HistoryRedis,
        writer: Writer,
        lease: Lease,
        expected: tuple[type[BaseException], ...],
    ) -> None:
        self._url = url
        self._redis = redis
        self._writer = writer
        self._lease = lease
        self._stock_at = 0.0
        self._bound = False
        self._ours: frozenset[str] = frozenset()
        self.taken = 0
        """Events of stock workers, since the start."""
        self.looper = Looper(
            "events", self._consume, interval_s=0.5, deadline_s=30.0,
            expected=(*expected, *AWAY), tell=plain_line,
        )  # fmt: skip

    async def _consume(self) -> None:
        if not self._lease.held:
            return
        connection = await self._connected()
        async with connection:
            channel = await connection.channel()
            await channel.set_qos(prefetch_count=PREFETCH)
            exchange = await channel.declare_exchange(EXCHANGE, "topic", durable=True)
            queue = await channel.declare_queue(
                HISTORY_EVENTS_QUEUE, durable=True, arguments=dict(ARGUMENTS)
            )
            await queue.bind(exchange, "worker.#")
            self._bound = False  # as far as we know: the queue may be new
            inbox: asyncio.Queue[AbstractIncomingMessage] = asyncio.Queue()
            await queue.consume(inbox.put)
            self.looper.well()
            ended = await _end_of(channel)
            while self._lease.held and not ended.is_set():
                await self._look(queue, exchange)
                await self._take(inbox)

    async def _connected(self) -> Any:
        hosts = shuffled(self._url)
        for host in hosts[:-1]:
            try:
                return await aio_pika.connect(host, timeout=_CONNECT_S)
            except AWAY:
                continue
        return await aio_pika.connect(hosts[-1], timeout=_CONNECT_S)

    async def _take(self, inbox: "asyncio.Queue[AbstractIncomingMessage]") -> None:
        """Write what has come, then acknowledge it."""
        await asyncio.sleep(BATCH_S)
        messages = [inbox.get_nowait() for _ in range(inbox.qsize())]
        if not messages:
            return
        events = [event for message in messages for event in _events_in(message.body)]
        if any(str(event.get("type", "")).startswith("worker-") for event in events):
            self._ours = await self._our_workers()
        others = [event for event in events if str(event.get("hostname")) not in self._ours]
        if any(event.get("type") == "worker-heartbeat" for event in others):
            self._stock_at = time.monotonic()
        facts = facts_of(others)
        self.taken += len(facts)
        await self._writer.write(facts)
        await messages[-1].ack(multiple=True)

    async def _look(self, queue: AbstractQueue, exchange: AbstractExchange) -> None:
        """Bind the events of tasks, or unbind them."""
        stock = self._stock_at > 0 and time.monotonic() - self._stock_at < STOCK_FOR_S
        if stock and not self._bound:
            await queue.bind(exchange, "task.#")
        elif self._bound and not stock:
            await queue.unbind(exchange, "task.#")
        self._bound = stock

    async def _our_workers(self) -> frozenset[str]:
        """The node names that records in Redis announce, whoever lives of them."""
        try:
            found = await self._redis.fields(WORKERS_KEY)
        except REDIS_AWAY:
            return self._ours
        names = {field.partition(b"\n")[0].decode("utf-8", "replace") for field in found}
        return self._ours | names


async def _end_of(channel: AbstractChannel) -> asyncio.Event:
    """Return what is set when nothing is delivered any more: lost, closed, or its queue deleted."""
    ended = asyncio.Event()
    underlay = await channel.get_underlay_channel()
    underlay.closing.add_done_callback(lambda _: ended.set())
    underlay.on_consumer_cancel_callbacks.add(lambda _: ended.set())
    return ended


def _events_in(body: bytes) -> list[Mapping[str, Any]]:
    """Return the events of a message, which has one or a list of them."""
    try:
        found = json.loads(body)
    except (ValueError, RecursionError):
        return []
    return [one for one in (found if isinstance(found, list) else [found]) if isinstance(one, dict)]
