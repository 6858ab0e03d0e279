"""What a caller may have published, where it goes and when: every check of a task, once each."""

import time
from collections.abc import Callable
from functools import lru_cache
from typing import Final

import msgspec

from gateway.access.auth import Caller
from gateway.access.room import Room
from gateway.errors import invalid_request
from gateway.rabbitmq.publisher import Publisher
from gateway.submitting.absent_tasks import AbsentTasks
from gateway.submitting.catalog import Catalog
from gateway.submitting.destinations import Destination, Destinations
from gateway.submitting.envelopes import check_no_envelopes
from gateway.submitting.plan import SUBMITTED, TaskPlan, Terms
from gateway.submitting.priorities import check_priority, honours
from gateway.submitting.start_times import times
from gateway.submitting.task_request import NO_OPTIONS, Options, TaskRequest
from penstock.wire.names import GATE_QUEUE
from topology.model import Topology

_NO_END: Final = (
    "Nobody says when such a task has ended: several queues, one of an app, take it, or "
    "ignore_result is set"
)


class Planner:
    """Makes plans.

    Args:
        topology: Where tasks go.
        catalog: Checks arguments against what workers announced.
        absent: Knows which tasks no worker has.
        room: Knows what is full.
        check_callback: Refuses an URL that no callback may go to.
        publisher: Knows which RabbitMQ there is.
    """

    def __init__(
        self,
        topology: Topology,
        catalog: Catalog,
        absent: AbsentTasks,
        room: Room,
        check_callback: Callable[[str], None],
        publisher: Publisher,
    ) -> None:
        self._topology = topology
        self._catalog = catalog
        self._room = room
        self._check_callback = check_callback
        self._publisher = publisher
        self._destinations = Destinations(topology)
        self.absent = absent
        """Knows which tasks no worker has."""
        self._plain = lru_cache(maxsize=4096)(self._place_plain)

    def plan(self, request: TaskRequest, caller: Caller, terms: Terms = SUBMITTED) -> TaskPlan:
        """Check one task.

        Args:
            request: Its form is checked.
            caller: Who submits.
            terms: What for.

        Raises:
            Problem: Every refusal that is known before anything is written (queued: no).
            SeemsAbsentError: No worker seems to have the task; see `AbsentTasks`.
        """
        task, options = request.task, request.options
        if options is NO_OPTIONS and not terms.everywhere and terms.tenant is None:
            plan = self._plain(task, caller)
            if plan.options.expires is not None:  # by the route: another time each time
                plan = self._place_plain(task, caller)
        else:
            plan = self._place(task, options, caller, terms)
        queues = plan.destination.queues
        self.absent.check(task, queues, caller)
        if terms.now:
            self._room.check(queues)
            if not plan.options.ignore_result:
                self._room.check_results(caller.tenant)
        self._catalog.check(task, request.args, request.kwargs, skip=terms.receives)
        if plan.destination.apps and not terms.envelopes:
            check_no_envelopes(request.args, request.kwargs)
        return plan

    def _place_plain(self, task: str, caller: Caller) -> TaskPlan:
        """Find where a task without options goes: the answer recurs."""
        return self._place(task, NO_OPTIONS, caller, SUBMITTED)

    def _place(self, task: str, options: Options, caller: Caller, terms: Terms) -> TaskPlan:
        """Find where and when a task goes."""
        if terms.everywhere:
            destination = self._destinations.everywhere(task, options, caller)
            options = msgspec.structs.replace(options, ignore_result=True)
        else:
            destination = self._destinations.resolve(task, options, caller)
            if destination.ignores_result and not options.ignore_result:
                options = msgspec.structs.replace(options, ignore_result=True)
        if options.priority is not None and not destination.apps:  # what an app honours is its own
            queues = [self._topology.queues[name] for name in destination.queues]
            major = self._publisher.rabbitmq_major
            if terms.idle_priority and not any(honours(queue, major) for queue in queues):
                options = msgspec.structs.replace(options, priority=None)
            else:
                check_priority(queues, major)
        options = _completed(options, destination)
        if options.callback_url is not None:
            self._check_callback(options.callback_url)
        tracked = len(destination.queues) == 1 and not options.ignore_result
        if options.callback_url is not None and destination.apps and not tracked:
            raise invalid_request("$.options.callback_url", _NO_END, queued="no")
        when = times(options, time.time())
        if when.delay_s:
            arrives_in = (GATE_QUEUE,) if destination.apps else destination.queues
            self._publisher.layout.check_queues(arrives_in)
        return TaskPlan(
            task=task,
            tenant=terms.tenant or caller.tenant,
            options=options,
            destination=destination,
            when=when,
            address=self._destinations.address(destination, when.delay_s),
            tracked=tracked,
        )

    def authorise(self, request: TaskRequest, caller: Caller) -> None:
        """Check only whether the caller may submit a task there.

        Args:
            request: The task.
            caller: On whose behalf.

        Raises:
            Problem: `forbidden`, `unknown-task`, `unknown-queue`, … (queued: no).
        """
        self._destinations.resolve(request.task, request.options, caller)


def _completed(options: Options, destination: Destination) -> Options:
    """Return the options with those that the route of the task gives where a submit says none."""
    said = {name: getattr(options, name) for name, _ in destination.defaults}
    given = {name: value for name, value in destination.defaults if said[name] is None}
    return msgspec.structs.replace(options, **given) if given else options
