"""JSON Schemas of the API's bodies: of requests from the structs that validate them. Pure."""

from typing import Any

import msgspec

from gateway.api.dead_letters import ReplayRequest
from gateway.api.description.composed_schemas import NOT_NULL, composed_components, given
from gateway.api.queues import Question
from gateway.api.streams import TicketRequest
from gateway.api.tasks import StatusRequest
from gateway.errors import REFUSALS
from gateway.submitting.task_request import Options

Schema = dict[str, Any]

REF = "#/components/schemas/{name}"
_VALIDATED = (Options, Question, ReplayRequest, StatusRequest, TicketRequest)
"""Structs that decode request bodies."""

TEXT: Schema = {"type": "string"}
COUNT: Schema = {"type": "integer", "minimum": 0}
FLAG: Schema = {"type": "boolean"}
TIME: Schema = {"type": "string", "format": "date-time"}
ANYTHING: Schema = {}
OBJECT: Schema = {"type": "object"}


def ref(name: str) -> Schema:
    """A reference to a component."""
    return {"$ref": REF.format(name=name)}


def array(items: Schema) -> Schema:
    """A list of these."""
    return {"type": "array", "items": items}


def nullable(schema: Schema) -> Schema:
    """It, or null."""
    return {"anyOf": [schema, {"type": "null"}]}


def record(required: str = "", /, **properties: Schema) -> Schema:
    """An object.

    Args:
        required: Names of required properties, between spaces.
        properties: All known ones; answers may get further ones later.
    """
    schema: Schema = {"type": "object", "properties": properties}
    return schema | ({"required": required.split()} if required else {})


def components() -> dict[str, Schema]:
    """Every named schema."""
    _, validated = msgspec.json.schema_components(_VALIDATED, ref_template=REF)
    _say_what_types_do_not(validated)
    return {**validated, **_answers(), **composed_components(), "Task": _task()}


_DEPENDS = {
    "queue": "Excludes `exchange` and `routing_key`.",
    "routing_key": "Needs `exchange`.",
    "eta": "Excludes `countdown`; up to a year from now.",
    "expires": "Seconds from now, or a time; later than the start.",
    "soft_time_limit": "Not over `time_limit`.",
    "headers": "The client's own; not `x-…`, nor a name that Celery's context, kombu's message or "
    "AMQP's properties know (`_children`, `compression`, `headers`, …), in any case or with `-`.",
}
"""Said in words: as `not` and `if` it would be beyond generators of clients and of tests."""


def _say_what_types_do_not(validated: dict[str, Schema]) -> None:
    """Add what the handlers check beyond the types of the structs."""
    options = validated["Options"]
    options["properties"]["eta"]["anyOf"][0] |= TIME
    options["properties"]["headers"]["anyOf"][0] |= {
        "propertyNames": {"minLength": 1, "maxLength": 255},
        "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
    }
    for name, text in _DEPENDS.items():
        options["properties"][name]["description"] = text
    validated["Question"]["oneOf"] = [
        {**given("task"), "allOf": [_absent("exchange"), _absent("routing_key")]},
        {**given("exchange"), "allOf": [_absent("task")]},
    ]
    validated["ReplayRequest"]["oneOf"] = [
        {**given("ids"), "properties": {"ids": NOT_NULL, "all": {"const": False}}},
        {"required": ["all"], "properties": {"ids": {"type": "null"}, "all": {"const": True}}},
    ]


def _absent(name: str) -> Schema:
    """The property is not there, or null."""
    return {"properties": {name: {"type": "null"}}}


def _task() -> Schema:
    """Body of a submit: `TaskRequest`, whose arguments msgspec cannot describe (they stay raw)."""
    return {
        "type": "object",
        "required": ["task"],
        "additionalProperties": False,
        "properties": {
            "task": {"type": "string", "minLength": 1, "maxLength": 255},
            "args": {"type": "array", "default": []},
            "kwargs": {"type": "object", "default": {}},
            "options": ref("Options"),
        },
    }


def _answers() -> dict[str, Schema]:
    queued = {"enum": ["no", "yes", "unknown"]}
    fault = record("at detail", at=TEXT, detail=TEXT)
    error = record(type=TEXT, message=TEXT, traceback=TEXT)
    state = {
        "type": "string",
        "description": "PENDING, STARTED, PROGRESS, RETRY, SUCCESS, FAILURE, REVOKED, or a user's.",
    }
    depth = {"ready": COUNT, "unacknowledged": COUNT, "consumers": COUNT, "dead_letters": COUNT}
    binding = record("exchange queue key", exchange=TEXT, queue=TEXT, key=TEXT, arguments=OBJECT)
    return {
        "Problem": record(
            "type title status detail code",
            type=TEXT,
            title=TEXT,
            status={"type": "integer"},
            detail=TEXT,
            code={"enum": list(REFUSALS)},
            queued=queued,
            id=TEXT,
            errors=array(fault),
            near=array(TEXT),
            quota=TEXT,
        ),
        "Receipt": record(
            "id task queues tracked accepted_at links",
            id=TEXT,
            task=TEXT,
            state=state,
            queues=array(TEXT),
            tracked=FLAG,
            accepted_at=TIME,
            links=OBJECT,
        ),
        "TaskState": record(
            "id",
            id=TEXT,
            task=TEXT,
            state=state,
            tracked=FLAG,
            accepted_at=TIME,
            started_at=TIME,
            finished_at=TIME,
            retries=COUNT,
            worker=TEXT,
            progress=ANYTHING,
            result=ANYTHING,
            error=error,
            truncated=FLAG,
            code=TEXT,
        ),
        "Outcome": record(
            line=COUNT,
            status={"type": "integer"},
            id=TEXT,
            code=TEXT,
            detail=TEXT,
            queued=queued,
            near=array(TEXT),
            quota=TEXT,
        ),
        "Ingested": record(
            accepted=COUNT,
            refused=COUNT,
            unknown=COUNT,
            stored=COUNT,
            duplicates=COUNT,
            ids=array(ANYTHING),
            batches=array(TEXT),
            failed=array(record("index detail", index=COUNT, _id=ANYTHING, detail=TEXT)),
            rejected=array(record("line at detail", line=COUNT, at=TEXT, detail=TEXT)),
            rejected_count=COUNT,
        ),
        "Readiness": record("status checks", status=TEXT, checks=OBJECT),
        "Topology": record(
            "exchanges queues bindings routes",
            exchanges=array(OBJECT),
            queues=array(OBJECT),
            bindings=array(binding),
            routes=array(OBJECT),
            derived=OBJECT,
        ),
        "RouteExplanation": record(
            "exchange routing_key routable bindings queues priority delay",
            task=TEXT,
            exchange=TEXT,
            routing_key=TEXT,
            routable=FLAG,
            through=array(TEXT),
            bindings=array(binding),
            queues=array(OBJECT),
            priority=FLAG,
            delay=FLAG,
            privileged=FLAG,
            announced=FLAG,
        ),
        "QueueList": record(
            "queues",
            queues=array(
                record("name type limit", name=TEXT, type=TEXT, limit=COUNT, rates=OBJECT, **depth)
            ),
        ),
        "DeadLetterList": record(
            "queue total letters",
            queue=TEXT,
            total=COUNT,
            letters=array(
                record(
                    "id task reason time error queue",
                    id=TEXT,
                    task=nullable(TEXT),
                    reason=TEXT,
                    time=nullable(TIME),
                    queue=TEXT,
                    exchange=TEXT,
                    routing_key=TEXT,
                    error=nullable(error),
                    replays=COUNT,
                )
            ),
        ),
        "Replayed": record(
            "queue replayed ids failed missing remaining",
            queue=TEXT,
            replayed=COUNT,
            ids=array(TEXT),
            failed=array(record("id detail", id=TEXT, detail=TEXT)),
            missing=array(TEXT),
            remaining=COUNT,
        ),
        "Ticket": record("ticket expires_at", ticket=TEXT, expires_at=TIME),
    }
