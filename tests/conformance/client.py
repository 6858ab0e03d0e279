"""Celery's client as a program that any version runs: `python client.py publish < kinds`.

Standard input is an object of kinds, each with the body of a request. `publish` prints the messages
that Celery publishes for each, taken from the queue; `run` prints how each ends; `retry` and
`broadcast` print what retries and commands publish, and `ask` what the worker NODE answers.
"""
# mypy: ignore-errors
# Written as users of stock Celery write.

import json
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from celery import chain, chord, group
from celery.utils.time import maybe_iso8601

from tests.conformance.celery_app import app
from tests.conformance.kinds import QUEUE, STAMPED, STAMPS, timed

TIMES = ("eta", "expires")
PATIENCE_S = 40


def signature(node):
    """Make what a Python programmer would have written."""
    if "chain" in node:
        return chain(*map(signature, node["chain"]))
    if "group" in node:
        return group(*map(signature, node["group"]), app=app)
    if "chord" in node:
        header, body = node["chord"]["header"], node["chord"]["body"]
        return chord(list(map(signature, header)), signature(body), app=app)
    options = {
        name: maybe_iso8601(value) if name in TIMES and isinstance(value, str) else value
        for name, value in node.get("options", {}).items()
    }
    made = app.signature(
        node["task"],
        args=tuple(node.get("args", ())),
        kwargs=node.get("kwargs", {}),
        options=options,
        immutable=node.get("immutable", False),
    )
    for name, attach in (("link", made.link), ("link_error", made.link_error)):
        for one in node.get(name, []):
            linked = signature(one)
            linked.freeze()
            attach(linked)
    return made


def apply(name, node):
    """Publish it; what is no canvas by `send_task`, as a program without the tasks does."""
    steps = node.get("chain", ())
    made = signature(steps[0] if len(steps) == 1 else node)
    if name in STAMPED:
        made.stamp(**STAMPS)
    return made.apply_async()


def taken(channel, queue=QUEUE):
    """Take every message of a queue, as it is on the wire."""
    found = []
    while True:
        message = channel.basic_get(queue, no_ack=True)
        if message is None:
            return found
        properties = dict(message.properties)
        headers = properties.pop("application_headers", {})
        body = message.body
        found.append(
            {
                "at": time.time(),
                "exchange": message.delivery_info["exchange"],
                "routing_key": message.delivery_info["routing_key"],
                "headers": headers,
                "properties": properties,
                "body": json.loads(body if isinstance(body, str) else bytes(body).decode()),
            }
        )


def published(kinds):
    """Return the messages of each kind."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        app.amqp.queues[QUEUE](channel).declare()
        found = {}
        for name, node in kinds.items():
            apply(name, timed(node))
            found[name] = taken(channel)
        return found


def retried(kinds):
    """Return the message that a retry publishes, for options of `Task.retry`."""
    task = app.tasks["golden.again"]
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        app.amqp.queues[QUEUE](channel).declare()
        found = {}
        for name, options in kinds.items():
            task.push_request(
                id="the-id", args=[2], kwargs={}, retries=0, called_directly=False,
                delivery_info={"exchange": "", "routing_key": QUEUE}, headers={"tenant": "acme"},
                root_id="the-id", correlation_id="the-id", reply_to="the-client",
            )  # fmt: skip
            task.retry(throw=False, **options)
            task.pop_request()
            found[name] = taken(channel)
        return found


def broadcast(kinds):
    """Return the control messages of each kind; one for the worker NODE wants its answer."""
    node = os.environ.get("NODE")
    only = {"destination": [node], "reply": True, "timeout": 0.1} if node else {}
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare("controls", auto_delete=True)
        channel.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)
        channel.queue_bind("controls", "celery.pidbox")
        found = {}
        for name, (method, options) in kinds.items():
            getattr(app.control, method)(connection=connection, **only, **options)
            end = time.monotonic() + PATIENCE_S
            while not found.get(name) and time.monotonic() < end:
                found[name] = taken(channel, "controls")
        return found


def asked(kinds):
    """Return what the worker NODE answers to each question."""
    only = {"destination": [os.environ["NODE"]], "timeout": 5, "limit": 1}
    found = {}
    for name, (method, options) in kinds.items():
        more = only if method == "ping" else {**only, "reply": True}
        answers = getattr(app.control, method)(**more, **options)
        found[name] = [answer for reply in answers or () for answer in reply.values()]
    return found


def ended(kinds):
    """Return how each kind ends: its state and its result."""
    begun = {name: apply(name, timed(node)) for name, node in kinds.items()}
    end = time.monotonic() + PATIENCE_S
    found = {}
    for name, result in begun.items():
        if result.__class__.__name__ != "GroupResult" and result.ignored:
            found[name] = ["ignored", None]
            continue
        try:
            value = result.get(timeout=max(0.1, end - time.monotonic()), propagate=False)
        except Exception as error:  # noqa: BLE001  # a timeout
            found[name] = ["unfinished", repr(error)]
            continue
        failed = isinstance(value, Exception)
        found[name] = ["FAILURE", type(value).__name__] if failed else ["SUCCESS", value]
    return found


if __name__ == "__main__":
    does = {
        "publish": published,
        "retry": retried,
        "broadcast": broadcast,
        "ask": asked,
        "run": ended,
    }
    json.dump(does[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
