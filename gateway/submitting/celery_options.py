"""Options of a submit in Celery's words, and back: the one mapping. Pure.

    message_options   of the message that the gateway publishes (`AMQP.as_task_v2`)
    later_options     of the signature or schedule that a worker or beat publishes (`apply_async`)
    client_options    the client's words for these again

A new option is a field of `Options` and a line in each.
"""

from collections.abc import Mapping
from typing import Any

from msgspec.structs import replace

from gateway.access.carried import Carried
from gateway.rabbitmq.task_message import MessageOptions
from gateway.submitting.destinations import Destination
from gateway.submitting.plan import Stamp, TaskPlan
from gateway.submitting.start_times import AT_ONCE, Times
from gateway.submitting.task_request import Options
from penstock.wire.headers import (
    CALLBACK_HEADER,
    COPY_HEADER,
    GATE_HEADER,
    JSON_HEADER,
    RETRIED_HEADER,
    TENANT_HEADER,
    UNKEPT_HEADER,
)


def message_options(plan: TaskPlan, stamp: Stamp) -> MessageOptions:
    """Return the options of a message.

    Args:
        plan: Of the task.
        stamp: What this message says besides.
    """
    options, when, part = plan.options, plan.when, stamp.part
    headers = own_headers(options, plan.tenant)
    headers |= unkept(plan)
    if stamp.copy is not None:
        headers[COPY_HEADER] = stamp.copy.nonce
    if stamp.retried_from is not None:
        headers[RETRIED_HEADER] = stamp.retried_from
    return MessageOptions(
        eta=when.eta,
        expires=when.expires,
        expiration_ms=when.expiration_ms,
        time_limit_s=options.time_limit,
        soft_time_limit_s=options.soft_time_limit,
        priority=options.priority,
        ignore_result=options.ignore_result,
        group_id=part.group_id,
        group_index=part.group_index,
        envelopes=stamp.envelopes,
        headers=tuple(headers.items()),
    )


def for_apps(
    options: MessageOptions, plan: TaskPlan, reply_to: str, shown: Mapping[str, str]
) -> MessageOptions:
    """Return the options of a message that workers may take which are not ours: as Celery's client.

    Args:
        options: From `message_options`.
        plan: Of the task.
        reply_to: Stands for the queue of replies, which nothing here has.
        shown: The headers that show the arguments.
    """
    gate = {}
    if plan.when.delay_s:
        destination = plan.destination
        gate[GATE_HEADER] = [destination.exchange, destination.routing_key]
    return replace(
        options,
        priority=options.priority or 0,
        reply_to=reply_to,
        # RabbitMQ would drop it, and nobody could say so: the worker looks at `expires`.
        expiration_ms=None,
        headers=(*options.headers, *shown.items(), *gate.items()),
    )


def later_options(
    options: Options, headers: Mapping[str, Any], when: Times = AT_ONCE
) -> dict[str, Any]:
    """Return the options with which a worker or beat will publish a task.

    Args:
        options: The client's.
        headers: From `own_headers`.
        when: Of the plan, where the task starts at one time.
    """
    found: dict[str, Any] = {
        "queue": options.queue,
        "exchange": options.exchange,
        "routing_key": options.routing_key,
        "priority": options.priority,
        "countdown": options.countdown,
        "eta": when.eta if options.eta is not None else None,
        "expires": when.expires if isinstance(options.expires, str) else options.expires,
        "time_limit": options.time_limit,
        "soft_time_limit": options.soft_time_limit,
        "ignore_result": options.ignore_result or None,
        "headers": headers or None,
    }
    if options.exchange is not None:
        found["routing_key"] = options.routing_key or ""
    return {name: value for name, value in found.items() if value is not None}


def addressed(destination: Destination) -> dict[str, Any]:
    """Return the options with which any worker publishes a task to its destination.

    A worker of an app knows neither our routes nor our queues: by its own it would take its default
    queue, and it declares a queue that is named to it.

    Args:
        destination: Of the plan.
    """
    return {
        "queue": None,
        "exchange": destination.exchange,
        "routing_key": destination.routing_key,
        # Not "direct", or Celery takes its default queue where one of the two is empty
        # (`celery.app.amqp`).
        "exchange_type": "topic",
    }


def own_headers(
    options: Options, tenant: str | None = None, carried: Carried | None = None
) -> dict[str, Any]:
    """Return the headers of a task: the client's, then ours.

    Args:
        options: The client's.
        tenant: Whose the task is; None: beat will say so.
        carried: What the message says of its request.
    """
    headers = dict(options.headers or {})
    if tenant is not None:
        headers[TENANT_HEADER] = tenant
    if carried is not None:
        headers |= carried.headers
    if options.callback_url is not None:
        headers[CALLBACK_HEADER] = options.callback_url
    return headers


def unkept(plan: TaskPlan) -> Mapping[str, Any]:
    """Return the header that keeps the arguments of a task out of history, where its route does."""
    return {} if plan.destination.keep_arguments else {UNKEPT_HEADER: True}


def client_options(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what `later_options` made as the client writes it; what has no such word stays.

    Args:
        options: Of a schedule.
    """
    found = dict(options)
    headers = dict(found.pop("headers", None) or {})
    headers.pop(JSON_HEADER, None)
    callback = headers.pop(CALLBACK_HEADER, None)
    if callback is not None:
        found["callback_url"] = callback
    return {**found, "headers": headers} if headers else found
