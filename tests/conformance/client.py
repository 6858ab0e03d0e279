"""Celery's client as a program that any version runs: `python client.py publish < kinds`.

Standard input is an object of kinds, each with the body of a request. `publish` prints the messages
that Celery publishes for each, taken from the queue; `run` prints how each ends; `retry` and
`broadcast` print what retries and revokes publish.
"""
# mypy: ignore-errors
# Written as users of stock Celery write.

import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from celery import chain, chord, group
from celery.utils.time import maybe_iso8601

from tests.conformance.celery_app import app
from tests.conformance.kinds import QUEUE, timed

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


def apply(node):
    """Publish it; what is no canvas by `send_task`, as a program without the tasks does."""
    steps = node.get("chain", ())
    if len(steps) == 1:
        return signature(steps[0]).apply_async()
    return signature(node).apply_async()


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
            apply(timed(node))
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
    """Return the control messages of each kind, with what it is about as the body."""
    with app.connection_for_write() as connection:
        channel = connection.default_channel
        channel.queue_declare("controls", auto_delete=True)
        channel.exchange_declare("celery.pidbox", "fanout", durable=False, auto_delete=False)
        channel.queue_bind("controls", "celery.pidbox")
        found = {}
        for name, options in kinds.items():
            app.control.revoke("the-id", connection=connection, **options)
            end = time.monotonic() + PATIENCE_S
            while not found.get(name) and time.monotonic() < end:
                found[name] = taken(channel, "controls")
        return found


def ended(kinds):
    """Return how each kind ends: its state and its result."""
    begun = {name: apply(timed(node)) for name, node in kinds.items()}
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
    does = {"publish": published, "retry": retried, "broadcast": broadcast, "run": ended}
    json.dump(does[sys.argv[1]](json.load(sys.stdin)), sys.stdout)
