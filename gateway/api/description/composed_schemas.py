"""JSON Schemas of canvases, groups and schedules. Pure."""

from typing import Any

from gateway.canvas.canvas_request import MAX_NODES
from gateway.schedules.schedule_request import MAX_EVERY_S
from penstock.wire.sun import EVENTS

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_FLAG: Schema = {"type": "boolean"}
_TIME: Schema = {"type": "string", "format": "date-time"}
_FIELD: Schema = {"type": ["string", "integer"], "default": "*"}
_CRONTAB = """All fields must match. Where the clocks of the time zone change: with `*` or `*/n` \
as minute or hour it runs whenever the clock shows a matching time; otherwise each time of the day \
runs once, one that comes twice the first time, and one that is skipped right after the jump."""
_TASK: Schema = {"type": "string", "minLength": 1, "maxLength": 255}
NOT_NULL: Schema = {"not": {"type": "null"}}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/components/schemas/{name}"}


def _closed(required: str, /, **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": required.split(),
        "additionalProperties": False,
        "properties": properties,
    }


def _open(required: str, /, **properties: Schema) -> Schema:
    return {"type": "object", "required": required.split(), "properties": properties}


def given(name: str) -> Schema:
    """The property is there, and not null."""
    return {"required": [name], "properties": {name: NOT_NULL}}


def _nullable(schema: Schema) -> Schema:
    return {"anyOf": [schema, {"type": "null"}]}


def _nodes(name: str) -> Schema:
    return {"type": "array", "minItems": 1, "items": _ref(name)}


def composed_components() -> dict[str, Schema]:
    """Every named schema of this module."""
    links: Schema = {
        "anyOf": [_ref("Canvas"), {"type": "array", "items": _ref("Canvas")}, {"type": "null"}]
    }
    args: Schema = {"type": "array", "default": []}
    kwargs: Schema = {"type": "object", "default": {}}
    return {
        "Canvas": {
            "description": f"A signature, or signatures composed; at most {MAX_NODES} in all.",
            "oneOf": [
                _ref("Signature"),
                _closed("chain", chain=_nodes("Canvas")),
                _closed("group", group=_nodes("Canvas")),
                _closed(
                    "chord",
                    chord=_closed("header body", header=_nodes("Canvas"), body=_ref("Canvas")),
                ),
            ],
        },
        "Signature": _closed(
            "task",
            task=_TASK,
            args=args,
            kwargs=kwargs,
            options=_ref("Options"),
            immutable=_FLAG | {"description": "Takes nothing from the task before it."},
            link=links | {"description": "Called with its result."},
            link_error=links
            | {
                "description": "Called when it fails, as Celery calls errbacks: with its id or, if "
                "its signature takes more, with (request, exc, traceback) in the failing worker."
            },
        ),
        "CanvasReceipt": _open(
            "id kind tracked ids groups canvas accepted_at links",
            id=_TEXT | {"description": "Of the final result: a task, or a group."},
            kind={"enum": ["task", "group"]},
            state={"const": "PENDING"},
            tracked=_FLAG,
            ids={"type": "array", "items": _TEXT, "description": "Of every task, in order."},
            groups={"type": "array", "items": _TEXT, "description": "Of every group and header."},
            canvas={"type": "object", "description": "The ids in the shape of the request."},
            accepted_at=_TIME,
            links={"type": "object"},
        ),
        "Group": _open(
            "id total completed ready successful counts results tasks",
            id=_TEXT,
            total=_COUNT,
            completed=_COUNT,
            ready=_FLAG | {"description": "Whether all have ended."},
            successful=_FLAG,
            counts={"type": "object", "additionalProperties": _COUNT},
            results={
                "type": "array",
                "description": "In the order of the request; null where there is none (yet).",
            },
            tasks={"type": "array", "items": _ref("TaskState")},
        ),
        **_schedules(args, kwargs),
    }


def _schedules(args: Schema, kwargs: Schema) -> dict[str, Schema]:
    times: dict[str, Schema] = {
        "every": {
            "type": "number",
            "minimum": 1,
            "maximum": MAX_EVERY_S,
            "description": "Seconds.",
        },
        "crontab": _closed(
            "",
            minute=_FIELD,
            hour=_FIELD,
            day_of_week=_FIELD,
            day_of_month=_FIELD,
            month_of_year=_FIELD,
            timezone=_TEXT | {"default": "UTC"},
        )
        | {"description": _CRONTAB},
        "solar": _closed(
            "event latitude longitude",
            event={"enum": list(EVENTS)},
            latitude={"type": "number", "minimum": -90, "maximum": 90},
            longitude={"type": "number", "minimum": -180, "maximum": 180},
        ),
    }
    body = _closed(
        "task",
        task=_TASK,
        args=args,
        kwargs=kwargs,
        options=_ref("Options"),
        enabled=_FLAG | {"default": True},
        **{name: _nullable(schema) for name, schema in times.items()},
    )
    body["oneOf"] = [given(name) for name in times]
    return {
        "ScheduleBody": body,
        "Schedule": _open(
            "name tenant task args kwargs options enabled last_run_at next_run_at total_runs",
            name=_TEXT,
            tenant=_TEXT
            | {"description": "Whose it is. The shipped ones, and those of programs: `admin`."},
            task=_TEXT,
            args=args,
            kwargs=kwargs,
            options={"type": "object"},
            enabled=_FLAG,
            last_run_at={"anyOf": [_TIME, {"type": "null"}]},
            next_run_at={
                "anyOf": [_TIME, {"type": "null"}],
                "description": "When beat publishes it: at once if that has passed. null: never.",
            },
            total_runs=_COUNT,
            suspended=_TEXT
            | {"description": "Why beat does not run it: its key may not submit the task (now)."},
            warning=_TEXT | {"description": "No scheduler runs the schedules."},
            **times,
        ),
    }
