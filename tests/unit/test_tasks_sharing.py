"""Which batches share an insert, and that none waits for, or suffers from, another."""

import asyncio
import contextvars
from collections.abc import Sequence
from functools import cached_property

import bson
import pytest
from bson.raw_bson import RawBSONDocument

from tasks.sharing import (
    IN_FLIGHT,
    SHARE_BYTES,
    SHARE_DOCUMENTS,
    SMALL_BYTES,
    SMALL_DOCUMENTS,
    Answer,
    Batch,
    Inserted,
    Sharing,
)
from tests.support.waiting import eventually


def batch(name: str, count: int = 1, octets: int = 0) -> Batch:
    text = "x" * (octets // count)
    return [
        (index, RawBSONDocument(bson.encode({"batch": name, "text": text})))
        for index in range(count)
    ]


class Mongo:
    """Inserts when it is told to, or at once, and calls every document a duplicate."""

    def __init__(self) -> None:
        self.inserts: list[list[str]] = []
        self.prompt = False
        self.contexts: list[contextvars.Context] = []
        self._ends: list[asyncio.Future[Exception | None]] = []
        self.patience_s = 3600.0
        self.late = 0

    @cached_property
    def sharing(self) -> Sharing:
        return Sharing(self._insert, self._late, self.patience_s)

    def _late(self) -> Exception:
        self.late += 1
        return TimeoutError("late")

    async def _insert(self, batches: Sequence[Batch]) -> Sequence[Answer]:
        self.inserts.append([one[0][1]["batch"] for one in batches])
        self.contexts.append(contextvars.copy_context())
        self._ends.append(asyncio.get_running_loop().create_future())
        error = None if self.prompt else await self._ends[-1]
        if error is not None:
            raise error
        return [Inserted(duplicates=len(one)) for one in batches]

    def send(self, name: str, count: int = 1, octets: int = 0) -> "asyncio.Task[Inserted]":
        return asyncio.create_task(self.sharing.insert(batch(name, count, octets)))

    async def seen(self, *inserts: list[str]) -> None:
        await eventually(lambda: self.inserts == list(inserts))

    async def began(self, count: int) -> None:
        await eventually(lambda: len(self.inserts) >= count)

    def end(self, number: int, error: Exception | None = None) -> None:
        self._ends[number].set_result(error)


@pytest.fixture
async def mongo() -> Mongo:
    return Mongo()


async def test_batches_of_one_moment_share_an_insert_and_each_is_told_its_own(mongo: Mongo):
    sent = [mongo.send(name, count) for name, count in (("a", 1), ("b", 2), ("c", 3))]
    await mongo.seen(["a", "b", "c"])
    mongo.end(0)

    assert [(await one).duplicates for one in sent] == [1, 2, 3]


async def test_what_comes_while_an_insert_is_on_its_way_is_gathered(mongo: Mongo):
    first = mongo.send("a")
    await mongo.seen(["a"])
    later = [mongo.send(name) for name in "bcd"]
    await mongo.seen(["a"], ["b", "c", "d"])  # though the first has no answer
    mongo.end(1)
    await asyncio.gather(*later)

    assert not first.done()
    mongo.end(0)
    await first


async def test_no_more_than_a_few_inserts_are_on_their_way(mongo: Mongo):
    sent = []
    for number in range(IN_FLIGHT):
        sent.append(mongo.send(str(number)))
        await mongo.began(number + 1)
    sent += [mongo.send("x"), mongo.send("y"), mongo.send("full", SMALL_DOCUMENTS)]
    late = mongo.send("z")
    await eventually(lambda: repr(mongo.sharing) == "<Sharing 4 waiting, 4 in flight>")
    mongo.end(2)
    await eventually(lambda: mongo.inserts[IN_FLIGHT:] == [["x", "y", "full", "z"]])
    for number in {*range(IN_FLIGHT + 1)} - {2}:
        mongo.end(number)
    await asyncio.gather(*sent, late)


async def test_a_large_batch_goes_alone_and_no_small_one_waits_for_it(mongo: Mongo):
    large = [mongo.send("many", SMALL_DOCUMENTS + 1), mongo.send("heavy", 1, SMALL_BYTES + 1)]
    small = mongo.send("small")
    await eventually(lambda: sorted(mongo.inserts) == [["heavy"], ["many"], ["small"]])
    mongo.end(mongo.inserts.index(["small"]))

    assert (await small).duplicates == 1
    assert not any(one.done() for one in large)
    mongo.end(mongo.inserts.index(["many"]))
    mongo.end(mongo.inserts.index(["heavy"]))
    assert [(await one).duplicates for one in large] == [SMALL_DOCUMENTS + 1, 1]


async def test_only_so_many_large_ones_are_on_their_way(mongo: Mongo):
    sent = [mongo.send(str(number), SMALL_DOCUMENTS + 1) for number in range(IN_FLIGHT + 2)]
    await mongo.began(IN_FLIGHT)
    small = mongo.send("small")
    await eventually(lambda: mongo.inserts[IN_FLIGHT:] == [["small"]])
    for number in range(IN_FLIGHT + 3):
        await mongo.began(number + 1)
        mongo.end(number)
    await asyncio.gather(*sent, small)


@pytest.mark.parametrize(("count", "octets"), [(SMALL_DOCUMENTS, 0), (1, SMALL_BYTES // 2)])
async def test_a_share_is_bounded_in_documents_and_bytes(mongo: Mongo, count: int, octets: int):
    mongo.prompt = True
    names = [f"{number:02}" for number in range(20)]
    await asyncio.gather(*(mongo.send(name, count, octets) for name in names))

    most = SHARE_BYTES // octets - 1 if octets else SHARE_DOCUMENTS // count
    assert max(map(len, mongo.inserts)) == most
    assert [name for insert in mongo.inserts for name in insert] == names


async def test_a_task_that_is_cancelled_costs_no_other(mongo: Mongo):
    first, leaves_in_flight = mongo.send("a"), mongo.send("b")
    await mongo.seen(["a", "b"])
    leaves_waiting, last = mongo.send("c"), mongo.send("d")
    await asyncio.sleep(0)  # they wait
    leaves_waiting.cancel()
    leaves_in_flight.cancel()
    await mongo.seen(["a", "b"], ["d"])
    mongo.end(0)
    mongo.end(1)

    assert [(await one).duplicates for one in (first, last)] == [1, 1]
    assert (leaves_waiting.cancelled(), leaves_in_flight.cancelled()) == (True, True)


async def test_an_insert_that_breaks_is_told_to_all_of_it_and_to_no_other(mongo: Mongo):
    broken = [mongo.send("a"), mongo.send("b")]
    await mongo.seen(["a", "b"])
    good = mongo.send("c")
    await mongo.seen(["a", "b"], ["c"])
    mongo.end(0, ValueError("broken"))
    mongo.end(1)

    for one in broken:
        with pytest.raises(ValueError, match="broken"):
            await one
    assert (await good).duplicates == 1


async def test_a_share_runs_in_the_context_of_no_task(mongo: Mongo):
    variable: contextvars.ContextVar[str] = contextvars.ContextVar("variable")
    variable.set("of a task")
    mongo.prompt = True
    await mongo.send("a")

    assert variable not in mongo.contexts[0]


async def test_what_waits_for_an_insert_that_is_not_answered_is_told_to_come_again(mongo: Mongo):
    mongo.patience_s = 0.05
    first = mongo.send("a")
    await mongo.seen(["a"])
    others = [mongo.send(str(number)) for number in range(1, 2 * IN_FLIGHT)]

    told = await asyncio.gather(first, *others, return_exceptions=True)

    assert all(isinstance(one, TimeoutError) for one in told)
    assert len({id(one) for one in told}) == len(told)
    assert mongo.late
    for number in range(len(mongo.inserts)):
        mongo.end(number)
    mongo.prompt = True
    assert (await mongo.send("later")).duplicates == 1


async def test_a_large_batch_waits_for_its_insert_but_not_for_its_turn(mongo: Mongo):
    mongo.patience_s = 0.05
    large = [mongo.send(str(number), SMALL_DOCUMENTS + 1) for number in range(IN_FLIGHT + 3)]

    await asyncio.wait(large[IN_FLIGHT:])

    assert not any(one.done() for one in large[:IN_FLIGHT])
    assert all(isinstance(one.exception(), TimeoutError) for one in large[IN_FLIGHT:])
    for number in range(IN_FLIGHT):
        mongo.end(number)
    assert {(await one).duplicates for one in large[:IN_FLIGHT]} == {SMALL_DOCUMENTS + 1}
    mongo.prompt = True
    again = [mongo.send(str(number), SMALL_DOCUMENTS + 1) for number in range(2 * IN_FLIGHT)]
    await asyncio.gather(*again)


async def test_a_large_batch_whose_task_is_cancelled_gives_its_turn_away(mongo: Mongo):
    large = [mongo.send(str(number), SMALL_DOCUMENTS + 1) for number in range(IN_FLIGHT + 2)]
    await mongo.began(IN_FLIGHT)
    large[IN_FLIGHT].cancel()
    for number in range(IN_FLIGHT):
        mongo.end(number)
    await mongo.began(IN_FLIGHT + 1)
    mongo.end(IN_FLIGHT)

    assert (await large[-1]).duplicates == SMALL_DOCUMENTS + 1
