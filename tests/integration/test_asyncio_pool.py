"""What Celery promises of a task, kept by the asyncio pool for an app of ours and a stock one."""

import json
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from kombu.connection import Connection

from devstack.children import Child
from tests.deployment.lasting import Lasting
from tests.support.waiting import eventually

pytestmark = [
    pytest.mark.parametrize("app", ["ours", "stock"], scope="module"),
    pytest.mark.timeout(120),
]
ROOM = 20
"""Coroutines at once."""
FOLLOW = {"callbacks": None, "errbacks": None, "chain": None, "chord": None}


@dataclass
class Pool:
    """A worker with the pool, and how tasks reach it."""

    deployment: Lasting
    ours: bool
    child: Child

    @property
    def queue(self) -> str:
        return "default" if self.ours else "stock"

    def publish(self, task: str, *args: Any, **options: Any) -> str:
        way: dict[str, Any] = {} if self.ours else {"exchange": "", "routing_key": "stock"}
        return self.deployment.publish(f"demo.co_{task}", args, **way, **options)

    async def ended(self, task_id: str, timeout_s: float = 20) -> dict[str, Any]:
        return await self.deployment.ended(task_id, timeout_s)

    async def result(self, task: str, *args: Any, **options: Any) -> Any:
        record = await self.ended(self.publish(task, *args, **options))
        assert record["status"] == "SUCCESS", record
        return record["result"]

    async def fails(self, task: str, *args: Any, **options: Any) -> tuple[str, str]:
        record = await self.ended(self.publish(task, *args, **options))
        assert record["status"] == "FAILURE", record
        message = record["result"]["exc_message"]
        return record["result"]["exc_type"], json.dumps(message)

    def runs(self, mark: str) -> list[str]:
        """What the tasks with a mark noted besides it."""
        found = [one for one in self.deployment.runs if f"{one} ".startswith(f"{mark} ")]
        return [one[len(mark) + 1 :] for one in found]

    async def ran(self, mark: str, *expected: str) -> None:
        await eventually(lambda: self.runs(mark) == list(expected), 10)

    def control(self, command: str, **arguments: Any) -> list[Any]:
        url = self.deployment.amqp_url
        with Connection(url) as connection, Celery("control", broker=url) as app:
            found: list[Any] = app.control.broadcast(
                command, arguments=arguments, connection=connection, reply=True, timeout=5, limit=1
            )
            return found

    def coroutines(self) -> int:
        """How many the worker says that it runs."""
        [reply] = self.control("stats")
        [stats] = reply.values()
        return int(stats["pool"]["coroutines"])

    def loops_lost(self) -> int:
        return self.child.logged().count(b"the event loop of the process is lost")

    async def acknowledged(self) -> None:
        """Wait until the broker holds nothing of this worker."""
        await eventually(lambda: self.deployment.depth(self.queue) == 0)


@pytest.fixture
async def pool(lasting_deployment: Lasting, app: str) -> AsyncIterator[Pool]:
    await lasting_deployment.clear()
    module, queue = ("asyncio_app", "default") if app == "ours" else ("asyncio_stock_app", "stock")
    worker = lasting_deployment.worker(
        "asyncio", "-Q", queue, "-E", "--prefetch-multiplier=2", concurrency=ROOM,
        app=f"tests.apps.{module}", name=app,
    )  # fmt: skip
    async with worker as process:
        with lasting_deployment.publishing():
            yield Pool(lasting_deployment, app == "ours", process.child)


async def test_each_coroutine_has_its_own_request_and_current_task(pool: Pool):
    ids = [pool.publish("who", n) for n in range(3 * ROOM)]
    for one in ids:
        record = await pool.ended(one)
        assert (record["status"], record["result"]) == ("SUCCESS", True), record


@pytest.mark.parametrize("decorator", ["bridged", "handed_on"])
async def test_a_coroutine_function_in_a_decorator_that_is_none(pool: Pool, decorator: str):
    task_id = pool.publish(decorator, 3)

    record = await pool.ended(task_id)
    assert (record["status"], record["result"]) == ("SUCCESS", [6, task_id]), record
    await pool.acknowledged()


@pytest.mark.parametrize(
    ("how", "state", "result", "runs"),
    [
        ("once", "SUCCESS", 1, ["0", "1"]),
        ("exceeding", "FAILURE", "MaxRetriesExceededError", ["0", "1", "2"]),
        ("exceeding with exc", "FAILURE", "KeyError", ["0", "1", "2"]),
        ("in a thread", "SUCCESS", 1, ["0", "1"]),
        ("other arguments", "SUCCESS", "other arguments", ["0", "1"]),
        ("caught and raised", "SUCCESS", 1, ["0", "cleans up", "1"]),
        ("a failure of its own", "SUCCESS", 1, ["0", "1"]),
    ],
)
async def test_retry_in_a_coroutine(pool: Pool, how: str, state: str, result: Any, runs: list[str]):
    task_id = pool.publish("retries", how, how)
    await pool.ran(how, *runs)

    def is_end() -> bool:
        record = pool.deployment.record(task_id)
        found = record["result"]
        found = found.get("exc_type") if isinstance(found, dict) else found
        return (record["status"], found) == (state, result)

    await eventually(is_end, 10)
    await pool.acknowledged()


async def test_a_retry_that_is_not_thrown(pool: Pool):
    task_id = pool.publish("retries", "unthrown", "not thrown")
    await eventually(lambda: "0" in pool.runs("unthrown"))
    # Both deliveries have the id; where the first has ended before the second ours begins no other.
    assert (await pool.ended(task_id))["result"] in {"Retry", "second"}
    if not pool.ours:
        await pool.ran("unthrown", "0", "1")
    await pool.acknowledged()


async def test_autoretry_in_a_coroutine(pool: Pool):
    assert (await pool.fails("auto", "auto"))[0] == "KeyError"
    assert pool.runs("auto") == ["", ""]


async def test_what_a_coroutine_starts_knows_its_parent_and_root(pool: Pool):
    task_id = pool.publish("starts")
    one, two, first, second, body = (await pool.ended(task_id))["result"]
    results = [(await pool.ended(each))["result"] for each in (one, two, first, second, body)]
    assert results == [3, 7, 3, 6, 6]
    children = {child[0][0] for child in pool.deployment.record(task_id)["children"]}
    assert {one, two} <= children
    assert len(children) == 4  # and the chain, and the chord


@pytest.mark.parametrize("task", ["add", "added"])
async def test_a_coroutine_for_each_value(pool: Pool, task: str):
    way: dict[str, Any] = {} if pool.ours else {"exchange": "", "routing_key": "stock"}
    each = [_signature(pool, task), [[1, 2], [3, 4]]]
    record = await pool.ended(pool.deployment.publish("celery.starmap", each, **way))

    assert (record["status"], record["result"]) == ("SUCCESS", [3, 7]), record


async def test_a_task_replaces_itself(pool: Pool):
    assert await pool.result("replaced") == 10


async def test_limits_of_the_message_and_of_the_task(pool: Pool):
    assert (await pool.fails("doze", "hard", 60, timelimit=[0.2, None]))[0] == "TimeLimitExceeded"
    assert (await pool.fails("doze", "soft", 60, timelimit=[9, 0.2]))[0] == "SoftTimeLimitExceeded"
    assert (await pool.fails("limited", "own"))[0] == "SoftTimeLimitExceeded"
    assert pool.runs("hard") == pool.runs("soft") == ["begins", "cancelled"]
    assert pool.runs("own") == ["cleans up"]


async def test_a_coroutine_that_swallows_its_cancellation_is_cancelled_again(pool: Pool):
    task_id = pool.publish("swallows", "twice", 2, timelimit=[0.2, None])
    assert (await pool.ended(task_id))["result"]["exc_type"] == "TimeLimitExceeded"
    stopped = pool.publish("swallows", "stopped", 1)
    await eventually(lambda: pool.deployment.record(stopped).get("status") == "STARTED", 10)
    pool.control("revoke", task_id=stopped, terminate=True)
    assert (await pool.ended(stopped))["status"] == "REVOKED"
    assert pool.runs("stopped") == ["swallowed 0"]


async def test_a_rate_limit(pool: Pool):
    ids = [pool.publish("rated", f"rated {n}") for n in range(12)]
    at = sorted([(await pool.ended(one))["result"] for one in ids])
    assert at[-1] - at[0] > 0.4


async def test_revoked_and_terminated(pool: Pool):
    never = pool.publish("doze", "never", 0, eta=_in(2))
    running = pool.publish("doze", "heard running", 60)
    full = [pool.publish("doze", f"full {n}", 60) for n in range(ROOM - 1)]
    await eventually(lambda: _begun(pool) == ROOM, 10)
    waiting = pool.publish("doze", "waiting", 60)
    node = _node(pool)
    await eventually(lambda: pool.control("query_task", ids=[waiting])[0][node], 10)
    active = pool.control("active")[0][node]
    assert len(active) == ROOM, [one for one in active if one["args"][1:] != [60]]
    for one in (never, waiting, running):
        pool.control("revoke", task_id=one, terminate=True)
    for one in (never, waiting, running):
        assert (await pool.ended(one))["status"] == "REVOKED"
    last = "postrun of doze" if pool.ours else "revoked of doze"
    await pool.ran("heard running", "prerun of doze", "begins", "cancelled", last)
    for one in full:
        pool.control("revoke", task_id=one, terminate=True)
    for one in full:
        assert (await pool.ended(one))["status"] == "REVOKED"
    assert not pool.runs("waiting")
    assert not pool.runs("never")
    await pool.acknowledged()


async def test_eta_and_expires(pool: Pool):
    begun = time.time()
    later = pool.publish("rated", "later", eta=_in(1))
    expired = pool.publish("rated", "expired", expires=_in(-1))
    assert (await pool.ended(expired))["status"] == "REVOKED"
    assert (await pool.ended(later))["result"] >= begun + 0.9
    assert not pool.runs("expired")


async def test_a_failure_that_is_not_acknowledged_is_rejected(pool: Pool):
    assert (await pool.fails("unacked", "unacked"))[0] == "KeyError"
    await pool.acknowledged()
    if pool.ours:
        await eventually(lambda: pool.deployment.depth("default.dead") == 1)


async def test_no_record_of_a_result_that_is_ignored(pool: Pool):
    task_id = pool.publish("ignored", "ignored", without=("ignore_result",))
    asked = pool.publish("rated", "asked", ignore_result=True)
    await pool.ran("ignored", "")
    await pool.ran("asked", "")
    await pool.acknowledged()
    assert await pool.result("add", 1, 2) == 3
    assert pool.deployment.record(task_id) == pool.deployment.record(asked) == {}


async def test_signals_and_hooks_in_their_order(pool: Pool):
    pool.publish("hooked", "heard well", "succeeds")
    await pool.ran(
        "heard well", "prerun of hooked", "body", "on_success True", "success of hooked",
        "after_return SUCCESS", "postrun of hooked",
    )  # fmt: skip
    pool.publish("hooked", "heard badly", "fails")
    await pool.ran(
        "heard badly", "prerun of hooked", "body", "on_failure KeyError('fails')",
        "failure of hooked", "after_return FAILURE", "postrun of hooked",
    )  # fmt: skip
    pool.publish("hooked", "heard again", "retries")
    twice = ["prerun of hooked", "body", "postrun of hooked"] * 2
    once = ["on_retry", "retry of hooked", "on_success True", "success of hooked"]
    expected = sorted([*twice, *once, "after_return SUCCESS"])  # the second may begin at once
    await eventually(lambda: sorted(pool.runs("heard again")) == expected)
    pool.publish("hooked_before", "heard before")
    await pool.ran(
        "heard before", "prerun of hooked_before", "before_start", "body", "on_success True",
        "success of hooked_before", "after_return SUCCESS", "postrun of hooked_before",
    )  # fmt: skip


async def test_links_of_success_and_failure(pool: Pool):
    link = _signature(pool, "told", "linked")
    error = _signature(pool, "failed", mark="erred")
    embed = {**FOLLOW, "callbacks": [link], "errbacks": [error]}
    pool.publish("links", "l", embed=embed)
    await pool.ran("linked", "5")
    pool.publish("links", "l", True, embed=embed)
    await pool.ran("erred", "ValueError('l')")
    await pool.acknowledged()
    assert pool.runs("linked") == ["5"]


async def test_what_leaves_a_coroutine_otherwise(pool: Pool):
    ignored = pool.publish("leaves", "ignored", "ignore")
    await pool.ran("ignored", "")
    await pool.acknowledged()
    assert pool.deployment.record(ignored)["status"] == "DUG", pool.deployment.record(ignored)
    assert await pool.result("leaves", "rejected once", "reject once") == "reject once"
    assert pool.runs("rejected once") == ["", ""]
    assert (await pool.fails("leaves", "rejected", "reject"))[0] == "Reject"
    kinds = {
        "exit": "SystemExit", "interrupt": "KeyboardInterrupt", "cancels itself": "CancelledError",
        "generator": "GeneratorExit",
    }  # fmt: skip
    if not pool.ours:  # as Celery's prefork calls it, whose process it ends
        kinds["exit"] = kinds["interrupt"] = "WorkerLostError"
    for how, kind in kinds.items():
        assert (await pool.fails("leaves", how, how))[0] == kind
        assert pool.runs(how) == [""]
    assert await pool.result("leaves", "stops", "stops the loop") == "stops the loop"
    if pool.ours:  # it is retried, as all that ran on that loop
        assert await pool.result("leaves", "closes", "closes the loop") == "closes the loop"
        assert pool.runs("closes") == ["", ""]
    else:
        assert (await pool.fails("leaves", "closes", "closes the loop"))[0] == "LoopLostError"
    await pool.acknowledged()
    await test_each_coroutine_has_its_own_request_and_current_task(pool)


async def test_what_waits_for_redis_when_the_loop_is_lost_ends(pool: Pool):
    if not pool.ours:
        return  # its states are stored on threads
    redis, lost = pool.deployment.redis, pool.loops_lost()
    returned = pool.publish("doze", "returned", 0.5, "kept")
    closer = pool.publish("leaves", "closer", "closes the loop when told")
    await eventually(lambda: {"returned begins", "closer begins"} <= set(pool.deployment.runs))
    redis.config_set("maxmemory", "1")  # it refuses what is asked, which is asked again
    try:
        early = pool.publish("early", "early", 0)
        late = pool.publish("doze", "late", 0, "late")
        await eventually(lambda: "ends" in pool.runs("returned"))
        await eventually(lambda: pool.coroutines() == 4)
        with pool.deployment.runs_file.open("a", encoding="utf-8") as runs:
            runs.write("closer now\n")
        await eventually(lambda: pool.loops_lost() == lost + 1)
    finally:
        redis.config_set("maxmemory", "0")

    assert (await pool.ended(early))["status"] == "SUCCESS"  # tried again, as all that was lost
    assert pool.runs("early") == ["begins", "ends"]
    assert (await pool.ended(late))["result"] == "late"
    assert (await pool.ended(returned))["result"] == "kept"
    assert pool.runs("returned") == ["begins", "ends"]
    assert (await pool.ended(closer))["result"] == "closes the loop when told"
    await pool.acknowledged()


async def test_functions_beside(pool: Pool):
    dozing = [pool.publish("doze", f"beside {n}", 0.5) for n in range(ROOM)]
    ids = [pool.publish("function", 0.3) for _ in range(16)]
    most = max([(await pool.ended(one))["result"] for one in ids])
    assert 2 < most <= 8
    for one in dozing:
        assert (await pool.ended(one))["status"] == "SUCCESS"


async def test_the_pool_grows_and_shrinks(pool: Pool):
    node = _node(pool)

    def sizes() -> tuple[int, int]:
        stats = pool.control("stats")[0][node]["pool"]
        return stats["max-concurrency"], stats["coroutines"]

    pool.control("pool_shrink", n=ROOM - 2)
    try:
        ids = [pool.publish("doze", f"narrow {n}", 3) for n in range(6)]
        await eventually(lambda: _same(sizes(), (2, 2)))
        pool.control("pool_grow", n=2)
        await eventually(lambda: _same(sizes(), (4, 4)))
        refused = pool.control("pool_shrink", n=4)[0][_node(pool)]
        assert "one coroutine" in refused["error"]
    finally:
        pool.control("pool_grow", n=ROOM - 4)
    for one in ids:
        assert (await pool.ended(one))["status"] == "SUCCESS"


def _same(found: Any, expected: Any) -> bool:
    assert found == expected
    return True


def _begun(pool: Pool) -> int:
    return sum(one.endswith(" begins") for one in pool.deployment.runs)


def _in(seconds: float) -> str:
    return (datetime.now(UTC) + timedelta(seconds=seconds)).isoformat()


def _node(pool: Pool) -> str:
    [reply] = pool.control("ping")
    return str(next(iter(reply)))


def _signature(pool: Pool, task: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
    options = {"queue": pool.queue} if not pool.ours else {}
    return {
        "task": f"demo.co_{task}", "args": args, "kwargs": kwargs, "options": options,
        "subtask_type": None, "immutable": False, "chord_size": None,
    }  # fmt: skip
