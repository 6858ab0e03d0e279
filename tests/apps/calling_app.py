"""Coroutine tasks that call each other: `celery -A tests.apps.calling_app worker`."""
# mypy: ignore-errors

import asyncio
import os
from functools import wraps

from celery import current_task
from celery.exceptions import SoftTimeLimitExceeded

from penstock import Penstock
from penstock.worker.errors import PermanentError

app = Penstock("calling", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.task_always_eager = True
app.conf.task_inherit_parent_priority = True


@app.task(name="calling.itself")
async def itself(depth: int) -> int:
    """Count down by calling this very task."""
    await asyncio.sleep(0)
    return 0 if depth == 0 else 1 + await itself(depth - 1)


@app.task(name="calling.at_once")
async def at_once(depth: int) -> int:
    """Call this task twice at a time."""
    if depth == 0:
        return 1
    return sum(await asyncio.gather(at_once(depth - 1), at_once(depth - 1)))


@app.task(name="calling.own_run", bind=True)
async def own_run(self, depth: int) -> int:
    """Count down by `self.run`."""
    await asyncio.sleep(0)
    return 0 if depth == 0 else 1 + await self.run(depth - 1)


@app.task(name="calling.own_run_elsewhere", bind=True)
async def own_run_elsewhere(self, depth: int) -> int:
    """Count down by `self.run`, called on another thread, where it gives the result."""
    return 0 if depth == 0 else 1 + await asyncio.to_thread(self.run, depth - 1)


class Base(app.Task):
    """A task of a class."""

    name = "calling.base"

    async def run(self, number: int) -> int:
        """Double."""
        await asyncio.sleep(0)
        return 2 * number


class Derived(Base):
    """One that goes on with what its base has made."""

    name = "calling.derived"

    async def run(self, number: int) -> int:
        """Double, and add one."""
        return 1 + await super().run(number)


class Refusing(app.Task):
    """A task that fails for good."""

    name = "calling.refusing"

    def run(self) -> None:
        """Fail."""
        raise PermanentError("no")


class Refused(Refusing):
    """One that goes on without its base, or fails with it."""

    name = "calling.refused"

    def run(self, catches: bool) -> str:
        """Do without, or fail."""
        try:
            super().run()
        except PermanentError:
            if not catches:
                raise
        return "without"


for one in (Base, Derived, Refusing, Refused):
    app.register_task(one())


@app.task(name="calling.eager")
async def eager(depth: int) -> int:
    """Count down by tasks that are executed where they are published."""
    await asyncio.sleep(0)
    return 0 if depth == 0 else 1 + eager_too.delay(depth - 1).result


@app.task(name="calling.eager_too", bind=True)
async def eager_too(self, depth: int) -> int:
    """Do so, too, and call itself from there."""
    if depth == 0:
        return 0
    return 1 + await self.run(0) + await eager_too(0) + eager.delay(depth - 1).result


@app.task(name="calling.limited", soft_time_limit=0.1)
async def limited() -> None:
    """Take too long."""
    await asyncio.sleep(60)


@app.task(name="calling.eager_limited")
async def eager_limited() -> bool:
    """Find that the limit of a task holds where it is executed."""
    return isinstance(limited.delay().result, SoftTimeLimitExceeded)


def bridged(function):
    """Run a coroutine function as a function."""

    @wraps(function)
    def run(*args):
        return asyncio.run(function(*args))

    return run


def handed_on(function):
    """Return the coroutine of a coroutine function."""

    @wraps(function)
    def run(*args):
        return function(*args)

    return run


@app.task(name="calling.bridged")
@bridged
async def in_bridge(depth: int) -> int:
    """Run on an event loop of its own."""
    await asyncio.sleep(0)
    return depth


@app.task(name="calling.handed_on", bind=True)
@handed_on
async def in_hand(self, depth: int) -> int:
    """Count down, awaiting itself, and by what is executed where it is published."""
    assert self.request.id
    if depth == 0:
        return 0
    return 1 + await self.run(0) + await in_hand(0) + in_hand.delay(depth - 1).result


def send(task, how, **options):
    """Publish a task, not eagerly."""
    published = app.send_task(task, [how], exchange="tasks", routing_key="default", **options)
    return [published.id, current_task.name]


@app.task(name="calling.parent")
async def parent(how: str) -> list:
    """Publish one that publishes another."""
    options = {"priority": 3}
    if how == "thread":
        return await asyncio.to_thread(send, "calling.child", how, **options)
    return send("calling.child", how, **options)


@app.task(name="calling.parent_function")
def parent_function(how: str) -> list:
    """Do so, too."""
    return send("calling.child", how, priority=3)


@app.task(name="calling.child", bind=True)
async def child(self, how: str) -> list:
    """Publish another."""
    return [*send("calling.grandchild", how), self.request.parent_id, self.request.root_id]


@app.task(name="calling.grandchild", bind=True)
async def grandchild(self, how: str) -> list:
    """Say where it comes from."""
    request = self.request
    return [request.parent_id, request.root_id, request.delivery_info["priority"]]


@app.task(name="calling.another_loop", bind=True)
async def another_loop(self, depth: int) -> int:
    """Await `self.run` on an event loop of its own."""
    await asyncio.sleep(0)

    async def down() -> int:
        return 1 + await self.run(depth - 1)

    return 0 if depth == 0 else await asyncio.to_thread(lambda: asyncio.run(down()))


@app.task(name="calling.from_function")
def from_function(depth: int) -> int:
    """Call a coroutine task as a function, which gives the result."""
    return itself(depth)
