"""The writer put together: what it reads, what it keeps right, which loops it runs."""

from collections.abc import Sequence
from dataclasses import dataclass

from pymongo.errors import PyMongoError

from history.config import HistoryConfig
from history.database import Database
from history.metrics import Metrics
from history.redis_client import REDIS_AWAY, Entry, HistoryRedis
from history.sources import told
from history.sources.changes import AT_ONCE, Changes
from history.sources.events import StockEvents
from history.sources.gaps import Gaps
from history.sources.tail import Tail
from history.writing.bounds import Bounds
from history.writing.concurrently import concurrently
from history.writing.counting import Counting
from history.writing.lease import Lease
from history.writing.masking import Mask
from history.writing.merging import Merger
from history.writing.writer import Writer
from penstock.looper import Looper, plain_line
from penstock.wire.keys import (
    DAY_S,
    HISTORY_ACCEPTED,
    HISTORY_ARGUMENTS_KEY,
    HISTORY_CHANGES,
    HISTORY_LARGE_REQUESTS,
    HISTORY_REQUESTS,
)

SERVERS_AWAY = (PyMongoError, *REDIS_AWAY)
CHANGES_AT_ONCE = 2_000
"""All of them are written before more are read: of fewer the writer waits for MongoDB's journal as
long as it works."""
BATCHES_AT_ONCE = 32
"""Of up to 16 KiB each."""
REQUESTS_AT_ONCE = 250
LARGE_AT_ONCE = 25
SWITCH_S = 5.0
"""Between two looks at the streams, whose existence switches history on."""
KEPT_WITHOUT_US_S = DAY_S
"""How long the streams outlive the last history process: then scripts write to them no more."""
_PREPARED_AGAIN_S = 600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Writing:
    """What writes."""

    database: Database
    redis: HistoryRedis
    lease: Lease
    tails: tuple[Tail, ...]
    loopers: tuple[Looper, ...]
    writer: Writer
    gaps: Gaps

    @classmethod
    def make(cls, config: HistoryConfig, database: Database, metrics: Metrics) -> "Writing":
        """Make it, not yet running.

        Args:
            config: of the process.
            database: that is written to.
            metrics: gets the figures of it.
        """
        redis = HistoryRedis(config.redis_url)
        lease = Lease(database, SERVERS_AWAY)
        writer = Writer(database, Merger(Mask(config.mask), config.days))
        gaps = Gaps(database, redis, writer, lease, SERVERS_AWAY)
        changes = Changes(redis)

        async def some_changes(names: Sequence[str]) -> None:
            await writer.write(await changes.read(names))

        async def on_changes(names: Sequence[str]) -> None:
            try:
                await concurrently(
                    some_changes(names[first : first + AT_ONCE])
                    for first in range(0, len(names), AT_ONCE)
                )
            except BaseException:
                changes.forget()
                raise

        async def on_accepted(entries: Sequence[Entry]) -> None:
            await writer.write(told.accepted(entries))

        async def on_requests(entries: Sequence[Entry]) -> None:
            await writer.write(told.requests(entries))

        tails = tuple(
            Tail(name, count, read, handle, database, redis, gaps, lease, SERVERS_AWAY)
            for name, count, read, handle in (
                (HISTORY_CHANGES, CHANGES_AT_ONCE, redis.read_names, on_changes),
                (HISTORY_ACCEPTED, BATCHES_AT_ONCE, redis.read, on_accepted),
                (HISTORY_REQUESTS, REQUESTS_AT_ONCE, redis.read, on_requests),
                (HISTORY_LARGE_REQUESTS, LARGE_AT_ONCE, redis.read, on_requests),
            )
        )
        events = StockEvents(config.amqp_url, redis, writer, lease, SERVERS_AWAY)
        bounds = Bounds(database, lease, config.max_bytes, SERVERS_AWAY)
        counting = Counting(database, lease, config.days, SERVERS_AWAY)

        async def switch_on() -> None:
            await redis.make_stream(HISTORY_CHANGES, KEPT_WITHOUT_US_S)
            await redis.make_stream(HISTORY_ACCEPTED, KEPT_WITHOUT_US_S)
            for name in (HISTORY_REQUESTS, HISTORY_LARGE_REQUESTS):
                if config.arguments == "none":
                    await redis.remove(name)
                else:
                    await redis.make_stream(name, KEPT_WITHOUT_US_S)
            await redis.set_text(HISTORY_ARGUMENTS_KEY, config.arguments, KEPT_WITHOUT_US_S)

        own = (
            Looper("switch", switch_on, interval_s=SWITCH_S, expected=SERVERS_AWAY,
                   tell=plain_line),
            Looper("indexes", database.prepare, interval_s=_PREPARED_AGAIN_S,
                   expected=SERVERS_AWAY, tell=plain_line),
        )  # fmt: skip
        loopers = (
            *own,
            lease.looper,
            *(tail.looper for tail in tails),
            gaps.looper,
            counting.looper,
            bounds.looper,
            *((events.looper,) if config.events else ()),
        )
        _register(metrics, lease, tails, gaps, writer, changes, bounds, loopers)
        metrics.counter("penstock_history_events", "Events of stock workers.", lambda: events.taken)
        return cls(
            database=database,
            redis=redis,
            lease=lease,
            tails=tails,
            loopers=loopers,
            writer=writer,
            gaps=gaps,
        )

    @property
    def lag_s(self) -> float | None:
        """How far it is behind, seconds; None: another process writes, and knows."""
        return None if self.lease.elsewhere else max(tail.lag_s for tail in self.tails)

    async def finish(self) -> None:
        """Save positions and let another process write; what cannot be saved is read again.

        Raises:
            PyMongoError: MongoDB is away.
        """
        for tail in self.tails:
            await tail.finish()
        await self.lease.release()


def _register(
    metrics: Metrics,
    lease: Lease,
    tails: tuple[Tail, ...],
    gaps: Gaps,
    writer: Writer,
    changes: Changes,
    bounds: Bounds,
    loopers: tuple[Looper, ...],
) -> None:
    gauge, counter = metrics.gauge, metrics.counter
    gauge(
        "penstock_history_lag_seconds",
        "How far behind the streams the writer is.",
        lambda: {tail.looper.name: tail.lag_s for tail in tails},
        "stream",
    )
    gauge("penstock_history_writes", "1: this process writes.", lambda: float(lease.held))
    gauge("penstock_history_gaps_open", "Gaps that are not filled yet.", lambda: gaps.open)
    gauge("penstock_history_bytes", "What tasks and counts of failures take.", lambda: bounds.size)
    counter("penstock_history_gaps", "Gaps found.", lambda: gaps.found)
    counter(
        "penstock_history_entries",
        "Entries of streams handled.",
        lambda: {tail.looper.name: tail.entries for tail in tails},
        "stream",
    )
    counter("penstock_history_documents", "Documents written.", lambda: writer.written)
    counter("penstock_history_refused", "Documents MongoDB refused.", lambda: writer.refused)
    counter("penstock_history_deleted", "Documents deleted at the bound.", lambda: bounds.deleted)
    counter(
        "penstock_history_vanished",
        "Records that were gone before they were read.",
        lambda: changes.vanished,
    )
    counter("penstock_history_malformed", "Records that are none.", lambda: changes.malformed)
    gauge(
        "penstock_history_loop_failing",
        "1: a loop of the process fails.",
        lambda: {one.name: float(one.failing is not None) for one in loopers},
        "loop",
    )
