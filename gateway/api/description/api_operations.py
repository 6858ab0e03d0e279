"""Every route of the API in words: what it takes, answers and refuses. Data.

The OpenAPI document is this table joined with the router of the running application; a test holds
the two against each other.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from gateway.api.description.api_schemas import ANYTHING, OBJECT, TEXT, Schema, array, record, ref

JSON = "application/json"
NDJSON = "application/x-ndjson"

Content = Mapping[str, Schema]
"""Media type → schema."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of one path."""

    summary: str
    tag: str
    scope: str | None
    """What the key must be allowed; None: open without a key."""
    answers: Mapping[int, tuple[str, Content]]
    """Status → what it means, its content."""
    body: Content | None = None
    body_required: bool = True
    refusals: tuple[str, ...] = ()
    """Codes beyond those that every operation of its kind has."""
    query: Mapping[str, tuple[Schema, str]] = field(default_factory=dict)
    headers: Mapping[str, tuple[Schema, str]] = field(default_factory=dict)
    tickets: bool = False
    """Takes `?ticket=` in place of a key."""


def _json(schema: Schema) -> Content:
    return {JSON: schema}


def _choice(*values: Any) -> Schema:
    return {"enum": list(values)}


_WAIT = {
    "wait": (
        {"type": "number", "minimum": 0, "maximum": 60},
        "Seconds to wait for the end of the task.",
    )
}
_IDEMPOTENCY = {
    "Idempotency-Key": (
        {"type": "string", "minLength": 1, "maxLength": 255},
        "The same key and request within 24 h gives the first answer again, in its 202 form.",
    )
}
_PUBLISHING = (
    "malformed-json", "invalid-request", "body-too-large", "unsupported-media-type", "forbidden",
    "queue-full", "broker-unavailable", "topology-conflict", "broker-blocked", "overloaded",
    "unconfirmed",
)  # fmt: skip
_RESOLVING = (
    "unknown-task", "unknown-queue", "unknown-exchange", "unroutable", "delay-not-supported",
)  # fmt: skip
_SUBMITTING = (*_PUBLISHING, *_RESOLVING, "invalid-arguments")
_IDEMPOTENT = ("idempotency-in-flight", "idempotency-key-reused", "state-unavailable")
_TENANT = {"tenant": (TEXT, "Whose, for `admin`. Default: one's own, then the shipped ones.")}
_READING = ("invalid-request", "unknown-task-id", "result-expired", "state-unavailable")
_KEY = """Fields, between commas, that an absent `_id` is derived from: the first 32 hex digits of
SHA-256 over the JSON array of their values, in this order, in UTF-8, without spaces, with sorted
keys, and numbers in their shortest form (`1.0`, `1e-7`)."""

_JSON_BODY = (
    "malformed-json", "invalid-request", "body-too-large", "unsupported-media-type", "overloaded",
)  # fmt: skip
_HTML: Content = {"text/html": TEXT}

OPERATIONS: dict[tuple[str, str], Operation] = {
    ("POST", "/v1/tasks"): Operation(
        summary="Submit one task; 202 once RabbitMQ confirmed its message.",
        tag="Tasks",
        scope="submit",
        body=_json(ref("Task")),
        answers={
            200: ("It ended within `wait`.", _json(ref("TaskState"))),
            202: ("Accepted: a receipt.", _json(ref("Receipt"))),
        },
        query=_WAIT,
        headers=_IDEMPOTENCY,
        refusals=(*_SUBMITTING, *_IDEMPOTENT),
    ),
    ("POST", "/v1/tasks/bulk"): Operation(
        summary="Submit many tasks; each is accepted or refused by itself.",
        tag="Tasks",
        scope="submit",
        body={JSON: array(ref("Task")), NDJSON: {"type": "string", "description": "Task a line"}},
        answers={
            202: ("All were accepted.", _json(array(ref("Outcome")))),
            207: (
                "An outcome for each, and of a stream a summary.",
                {JSON: array(ref("Outcome")), NDJSON: TEXT},
            ),
        },
        query={"outcomes": (_choice("errors", "all", "none"), "Which outcomes are told.")},
        refusals=_PUBLISHING,
    ),
    ("POST", "/v1/tasks/status"): Operation(
        summary="The states of up to 1,000 tasks.",
        tag="Tasks",
        scope="read",
        body=_json(ref("StatusRequest")),
        answers={
            200: ("In the order of the ids.", _json(record("tasks", tasks=array(ref("TaskState")))))
        },
        query=_WAIT,
        refusals=(*_JSON_BODY, "state-unavailable"),
    ),
    ("GET", "/v1/tasks/{id}"): Operation(
        summary="The state of one task.",
        tag="Tasks",
        scope="read",
        answers={200: ("What is known of it.", _json(ref("TaskState")))},
        query=_WAIT,
        refusals=_READING,
    ),
    ("GET", "/v1/tasks/{id}/result"): Operation(
        summary="The bare result.",
        tag="Tasks",
        scope="read",
        answers={
            200: ("The value that the task returned.", _json(ANYTHING)),
            202: ("It has not ended.", _json(ref("TaskState"))),
        },
        query=_WAIT,
        refusals=(*_READING, "task-failed", "task-revoked", "not-found"),
    ),
    ("DELETE", "/v1/tasks/{id}"): Operation(
        summary="Revoke a task; one that has not started never will.",
        tag="Tasks",
        scope="submit",
        answers={
            202: (
                "Revoked, being stopped, or `revoking`: of an id of others a worker tells the end.",
                _json(OBJECT),
            )
        },
        query={"terminate": (_choice("true", "false", "1", "0"), "Also stop a running one.")},
        refusals=(*_READING, "already-ended", "not-terminable", "broker-unavailable"),
    ),
    ("POST", "/v1/canvas"): Operation(
        summary="Submit a chain, group or chord.",
        tag="Tasks",
        scope="submit",
        body=_json(ref("Canvas")),
        answers={
            200: (
                "It ended within `wait`.",
                _json({"anyOf": [ref("TaskState"), ref("Group")]}),
            ),
            202: ("Accepted: the ids of every node.", _json(ref("CanvasReceipt"))),
        },
        query=_WAIT,
        headers=_IDEMPOTENCY,
        refusals=(*_SUBMITTING, *_IDEMPOTENT),
    ),
    ("GET", "/v1/groups/{id}"): Operation(
        summary="The tasks of a group: counts per state, results in order.",
        tag="Tasks",
        scope="read",
        answers={200: ("What is known of it.", _json(ref("Group")))},
        query=_WAIT,
        refusals=_READING,
    ),
    ("POST", "/v1/ingest/{collection}"): Operation(
        summary="Ingest documents: one object, an array, or NDJSON of any length.",
        tag="Documents",
        scope="ingest",
        body={
            JSON: {"anyOf": [OBJECT, array(OBJECT)]},
            NDJSON: {"type": "string", "description": "A document a line"},
        },
        answers={
            200: ("MongoDB has them (`ack=stored`).", _json(ref("Ingested"))),
            202: ("RabbitMQ confirmed every batch.", _json(ref("Ingested"))),
            207: ("Some batches or documents were refused.", _json(ref("Ingested"))),
        },
        query={
            "key": (TEXT, _KEY),
            "ids": (
                _choice("few", "all"),
                "Also above 1,000 documents; up to 100,000 anyway where only a part was accepted.",
            ),
            "on_error": (_choice("reject", "skip"), "What one bad document does."),
            "ack": (_choice("confirmed", "stored"), "When the answer comes."),
            **_WAIT,
        },
        headers=_IDEMPOTENCY,
        refusals=(*_PUBLISHING, *_IDEMPOTENT, "unknown-collection", "invalid-document"),
    ),
    ("GET", "/v1/tasks/{id}/stream"): Operation(
        summary="The states and log lines of one task as Server-Sent Events.",
        tag="Streams",
        scope="read",
        answers={
            200: ("Events `state` and `log`.", {"text/event-stream": TEXT}),
            204: ("It ended, and its end was told before.", {}),
        },
        headers={"Last-Event-ID": (TEXT, "The cursor to resume behind.")},
        refusals=(
            "draining",
            "invalid-ticket",
            "forbidden-origin",
            "unknown-task-id",
            "not-acceptable",
            "result-expired",
            "state-unavailable",
            "overloaded",
        ),
        tickets=True,
    ),
    ("GET", "/v1/stream"): Operation(
        summary="Many tasks on one WebSocket, subprotocol `penstock.v1`.",
        tag="Streams",
        scope="read",
        answers={101: ("The protocol is switched.", {})},
        query={"ids": (TEXT, "Ids to subscribe to at once, between commas.")},
        refusals=(
            "draining",
            "invalid-ticket",
            "forbidden-origin",
            "overloaded",
            "state-unavailable",
        ),
        tickets=True,
    ),
    ("POST", "/v1/tickets"): Operation(
        summary="A ticket for browsers' streams, in place of a key.",
        tag="Streams",
        scope="read",
        body=_json(ref("TicketRequest")),
        body_required=False,
        answers={200: ("Valid for 10 minutes.", _json(ref("Ticket")))},
        refusals=(*_JSON_BODY, "unknown-task-id"),
    ),
    ("GET", "/v1/schedules"): Operation(
        summary="One's own schedules; for `admin` everybody's.",
        tag="Schedules",
        scope="schedule",
        query={"tenant": (TEXT, "Whose, for `admin`. Default: everybody's.")},
        answers={
            200: (
                "By tenant and name, with `warning` when no scheduler runs them.",
                _json(
                    record(
                        "schedules", schedules=array(ref("Schedule")), warning={"type": "string"}
                    )
                ),
            )
        },
        refusals=("state-unavailable",),
    ),
    ("GET", "/v1/schedules/{name}"): Operation(
        summary="One schedule.",
        tag="Schedules",
        scope="schedule",
        query=_TENANT,
        answers={200: ("With its last and next run.", _json(ref("Schedule")))},
        refusals=("unknown-schedule", "state-unavailable"),
    ),
    ("PUT", "/v1/schedules/{name}"): Operation(
        summary="Make or replace a schedule.",
        tag="Schedules",
        scope="schedule",
        query=_TENANT,
        body=_json(ref("ScheduleBody")),
        answers={
            200: ("Replaced.", _json(ref("Schedule"))),
            201: ("Made.", _json(ref("Schedule"))),
        },
        refusals=(*_JSON_BODY, *_RESOLVING, "invalid-arguments", "state-unavailable"),
    ),
    ("DELETE", "/v1/schedules/{name}"): Operation(
        summary="Delete a schedule.",
        tag="Schedules",
        scope="schedule",
        query=_TENANT,
        answers={204: ("It is gone.", {})},
        refusals=("unknown-schedule", "state-unavailable"),
    ),
    ("POST", "/v1/schedules/{name}/run"): Operation(
        summary="Fire a schedule now.",
        tag="Schedules",
        scope="schedule",
        query=_TENANT,
        answers={202: ("Accepted: a receipt.", _json(ref("Receipt")))},
        refusals=(*_SUBMITTING, "unknown-schedule", "state-unavailable"),
    ),
    ("GET", "/v1/topology"): Operation(
        summary="Exchanges, queues, bindings and task routes as declared.",
        tag="Queues",
        scope="read",
        answers={200: ("The layout.", _json(ref("Topology")))},
        query={
            "derived": (_choice("true", "false"), "Also what follows: dead letters, delay levels.")
        },
        refusals=("invalid-request",),
    ),
    ("POST", "/v1/topology/route"): Operation(
        summary="Explain where a message would go; publishes nothing.",
        tag="Queues",
        scope="read",
        body=_json(ref("Question")),
        answers={200: ("Bindings and queues that match.", _json(ref("RouteExplanation")))},
        refusals=(*_JSON_BODY, "unknown-task", "unknown-exchange", "metrics-unavailable"),
    ),
    ("GET", "/v1/queues"): Operation(
        summary="Work queues; with figures when the management API is configured.",
        tag="Queues",
        scope="read",
        answers={200: ("Each queue.", _json(ref("QueueList")))},
        refusals=("metrics-unavailable",),
    ),
    ("POST", "/v1/broadcast"): Operation(
        summary="A task for every worker, through the fanout exchange.",
        tag="Queues",
        scope="admin",
        body=_json(ref("Task")),
        answers={202: ("Accepted; it has no single result.", _json(OBJECT))},
        refusals=_SUBMITTING,
    ),
    ("GET", "/v1/dead-letters/{queue}"): Operation(
        summary="Look at the dead letters of a queue; they stay.",
        tag="Queues",
        scope="admin",
        answers={200: ("The first letters.", _json(ref("DeadLetterList")))},
        query={
            "limit": ({"type": "integer", "minimum": 1, "maximum": 1000}, "Letters at most (100).")
        },
        refusals=("invalid-request", "unknown-queue", "broker-unavailable"),
    ),
    ("POST", "/v1/dead-letters/{queue}/replay"): Operation(
        summary="Publish dead letters again, and remove each once that is confirmed.",
        tag="Queues",
        scope="admin",
        body=_json(ref("ReplayRequest")),
        answers={200: ("Which, and what remains.", _json(ref("Replayed")))},
        refusals=(*_JSON_BODY, "unknown-queue", "broker-unavailable", "unconfirmed"),
    ),
    ("GET", "/healthz"): Operation(
        summary="The process lives.",
        tag="Operations",
        scope=None,
        answers={200: ("It does.", _json(OBJECT))},
    ),
    ("GET", "/readyz"): Operation(
        summary="Each check; 503 when submits would be refused.",
        tag="Operations",
        scope=None,
        answers={
            200: (
                "Ready; `degraded` while Redis is away or full, or one of `checks.loops` fails.",
                _json(ref("Readiness")),
            ),
            503: (
                "RabbitMQ is not usable, the catalog has not been read yet, or draining.",
                _json(ref("Readiness")),
            ),
        },
    ),
    ("GET", "/metrics"): Operation(
        summary="Counters and gauges of this process for Prometheus.",
        tag="Operations",
        scope="admin",
        answers={200: ("Text format 0.0.4.", {"text/plain": TEXT})},
    ),
    ("GET", "/openapi.json"): Operation(
        summary="This description.",
        tag="Operations",
        scope=None,
        answers={200: ("OpenAPI 3.1.", _json(OBJECT))},
    ),
    ("GET", "/docs"): Operation(
        summary="This description as a page.",
        tag="Operations",
        scope=None,
        answers={200: ("HTML, from this gateway alone.", _HTML)},
    ),
    ("GET", "/"): Operation(
        summary="The dashboard.",
        tag="Operations",
        scope=None,
        answers={200: ("HTML.", _HTML), 304: ("It has not changed.", {})},
    ),
}
"""(method, path) → its description; paths that the application does not serve are left out."""
