"""Small batches for one collection that arrive together share one insert.

The first of them goes at once. While an insert is on its way, what comes is gathered, for 2 ms at
most; so under load a share is as large as what came meanwhile, and at rest nothing waits. What one
batch is told is what became of its own documents. An insert that is not answered holds up no task
for long: they try again later. Knows no MongoDB; one object lives on one loop.
"""

import asyncio
import contextvars
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from bson.raw_bson import RawBSONDocument

from tasks.encoding import Failed

SMALL_DOCUMENTS = 200
SMALL_BYTES = 256 * 1024
"""A batch that has more documents, or bytes of BSON, has an insert of its own."""

SHARE_DOCUMENTS = 1_000
SHARE_BYTES = 1024 * 1024
"""What an insert is full with: a few milliseconds of mongod, for which the smallest waits."""

GATHER_S = 0.002
"""How long a batch waits for others while an insert is on its way."""

IN_FLIGHT = 4
"""Shares on their way at once, and so many of the large ones: the threads of motor, five for each
processor, are for all collections."""

PATIENCE_S = 10.0
"""After so long without an answer of an insert, those that wait for it or for their turn are told
to come again; only a large batch waits for its own insert to the end."""

Batch = Sequence[tuple[int, RawBSONDocument]]
"""Documents, each with its index in the batch of its task."""


@dataclass(frozen=True, slots=True)
class Inserted:
    """What became of the documents of one batch."""

    duplicates: int = 0
    """Those whose `_id` was there already."""

    failed: tuple[Failed, ...] = ()
    """Those that MongoDB refuses."""


Answer = Inserted | Exception
"""The exception is what the task is to raise; each batch has one of its own."""

Insert = Callable[[Sequence[Batch]], Awaitable[Sequence[Answer]]]
"""Inserts batches together, in this order, and answers each of them."""


@dataclass(slots=True, eq=False)
class _Waiting:
    batch: Batch
    octets: int
    since: float
    """By the clock of the loop."""
    answer: "asyncio.Future[Answer]"
    """Cancelled with its task."""


class Sharing:
    """The batches of one collection that wait, and the inserts that are on their way.

    Args:
        insert: Inserts what was gathered.
        late: Called when an insert is not answered in time; returns what those that wait are told.
        patience_s: When that is.
    """

    def __init__(
        self, insert: Insert, late: Callable[[], Exception], patience_s: float = PATIENCE_S
    ) -> None:
        self._insert = insert
        self._late = late
        self._patience_s = patience_s
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Waiting] = deque()
        self._documents = 0
        self._octets = 0
        self._due: asyncio.Handle | None = None
        self._due_now = False
        self._shares: set[asyncio.Task[None]] = set()
        self._large = 0
        """Large batches on their way."""
        self._turns: deque[asyncio.Future[Exception | None]] = deque()
        """Of large batches that wait for others; an exception: what they are told instead."""

    def __repr__(self) -> str:
        """Tell what waits and what is on its way."""
        return f"<Sharing {len(self._waiting)} waiting, {len(self._shares)} in flight>"

    async def insert(self, batch: Batch) -> Inserted:
        """Insert a batch, alone or with others.

        Cancelled while its documents are on their way, they may be stored.

        Raises:
            Exception: What `insert` answers for this batch.
        """
        octets = sum(len(document.raw) for _, document in batch)
        if len(batch) > SMALL_DOCUMENTS or octets > SMALL_BYTES:
            answer = await self._insert_large(batch)
        else:
            waiting = _Waiting(batch, octets, self._loop.time(), self._loop.create_future())
            self._waiting.append(waiting)
            self._documents += len(batch)
            self._octets += octets
            self._plan()
            answer = await waiting.answer
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def _insert_large(self, batch: Batch) -> Answer:
        """Insert a batch by itself, when it is its turn."""
        if self._large >= IN_FLIGHT:
            turn: asyncio.Future[Exception | None] = self._loop.create_future()
            self._turns.append(turn)
            try:
                late = await turn
            except asyncio.CancelledError:
                if not turn.cancelled() and turn.result() is None:
                    self._pass_turn()
                raise
            if late is not None:
                return late
        else:
            self._large += 1
        end_watch = self._watch(())
        try:
            [answer] = await self._insert([batch])
        finally:
            end_watch()
            self._pass_turn()
        return answer

    def _pass_turn(self) -> None:
        """Give the turn of a large batch to the next."""
        while self._turns:
            turn = self._turns.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._large -= 1

    def _watch(self, share: Sequence[_Waiting]) -> Callable[[], None]:
        """Give up what waits, each time that an insert is not answered in time; return the end."""
        timers: list[asyncio.TimerHandle] = []

        def again() -> None:
            self._give_up(share)
            plan()

        def plan() -> None:
            timers[:] = [self._loop.call_later(self._patience_s, again)]

        def end() -> None:
            timers[0].cancel()

        plan()
        return end

    def _give_up(self, share: Sequence[_Waiting]) -> None:
        error = self._late()
        futures = [one.answer for one in (*share, *self._waiting)] + list(self._turns)
        self._waiting.clear()
        self._turns.clear()
        self._documents = self._octets = 0
        for future in futures:
            if not future.done():
                future.set_result(type(error)(*error.args))

    def _plan(self) -> None:
        """See to it that what waits is sent in time."""
        if not self._waiting or len(self._shares) >= IN_FLIGHT:
            return  # the end of a share comes here again
        now = not self._shares or self._documents >= SHARE_DOCUMENTS or self._octets >= SHARE_BYTES
        if self._due is not None:
            if self._due_now or not now:
                return
            self._due.cancel()
        self._due_now = now
        if now:
            self._due = self._loop.call_soon(self._send)
        else:
            at = self._waiting[0].since + GATHER_S
            self._due = self._loop.call_at(at, self._send)

    def _send(self) -> None:
        self._due = None
        if share := self._take():
            sent = self._loop.create_task(
                self._insert_share(share),
                name="shared insert",
                context=contextvars.Context(),  # of no task: it is many tasks' own
            )
            self._shares.add(sent)
            end_watch = self._watch(share)
            sent.add_done_callback(lambda _: end_watch())
            sent.add_done_callback(self._ended)
        self._plan()

    def _take(self) -> list[_Waiting]:
        """Take as many batches as an insert is full with, without those that were cancelled."""
        share: list[_Waiting] = []
        documents = octets = 0
        while self._waiting:
            one = self._waiting[0]
            if not one.answer.done():
                documents += len(one.batch)
                octets += one.octets
                if share and (documents > SHARE_DOCUMENTS or octets > SHARE_BYTES):
                    break
                share.append(one)
            self._waiting.popleft()
            self._documents -= len(one.batch)
            self._octets -= one.octets
        return share

    async def _insert_share(self, share: Sequence[_Waiting]) -> None:
        answers: Sequence[Answer] = ()
        try:
            answers = await self._insert([one.batch for one in share])
        except Exception as error:  # noqa: BLE001  # a fault of ours is every task's
            answers = [error] * len(share)
        finally:
            for one, answer in zip(share, answers, strict=False):
                if not one.answer.done():
                    one.answer.set_result(answer)
            for one in share:
                one.answer.cancel()  # the loop ends, or there was no answer

    def _ended(self, share: "asyncio.Task[None]") -> None:
        self._shares.discard(share)
        self._plan()
