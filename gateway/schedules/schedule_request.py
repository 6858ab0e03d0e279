"""Body of PUT /v1/schedules/{name} → the definition that RedBeat keeps. Pure.

Source: `redbeat.schedulers.RedBeatSchedulerEntry.save`. A crontab's time zone and `solar` are
additions that our beat understands (penstock/worker/beat/schedule_entries.py); RedBeat's own would
drop the entry that has them.
"""

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar

import msgspec
import orjson

from gateway.decoding.choices import given, one_of
from gateway.decoding.typed_json import decode_with
from gateway.errors import invalid_request
from gateway.submitting.celery_options import client_options, later_options, own_headers
from gateway.submitting.start_times import times
from gateway.submitting.task_request import (
    NO_OPTIONS,
    Args,
    Kwargs,
    Options,
    TaskName,
    TaskRequest,
    always,
    check_form,
)
from penstock.wire.crontab import RANGES, parse_crontab, parse_field, time_zone
from penstock.wire.headers import JSON_HEADER
from penstock.wire.json_meaning import DATA, TYPE
from penstock.wire.recurrence import next_run
from penstock.wire.sun import EVENTS

MAX_SCHEDULE_BYTES = 64 * 1024
"""Expanded size of a body: beat and gateways read every schedule, again and again."""
MAX_EVERY_S = 366 * 86_400

_Field = Annotated[str, msgspec.Meta(min_length=1, max_length=200)] | int


class Crontab(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """Every field must match; absent ones are `*`.

    Where the clocks of the time zone change: with `*`, or steps of it, as minute or hour it runs
    whenever the clock shows a matching time; otherwise each time of the day runs once, one that
    comes twice the first time, and one that is skipped right after the jump.
    """

    minute: _Field = "*"
    hour: _Field = "*"
    day_of_week: _Field = "*"
    day_of_month: _Field = "*"
    month_of_year: _Field = "*"
    timezone: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "UTC"


class Solar(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """An event of the sun at a place, in degrees."""

    event: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(EVENTS)})]
    latitude: Annotated[float, msgspec.Meta(ge=-90, le=90)]
    longitude: Annotated[float, msgspec.Meta(ge=-180, le=180)]


class ScheduleBody(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """A schedule: a task, and exactly one of `every`, `crontab` and `solar`. At most 64 KiB."""

    SCHEMA: ClassVar[dict[str, Any]] = one_of(*map(given, ("every", "crontab", "solar")))

    task: TaskName
    args: Args = always(b"[]")
    kwargs: Kwargs = always(b"{}")
    options: Options = NO_OPTIONS
    """Of each run: without `eta`, and `expires` in seconds."""
    every: Annotated[float, msgspec.Meta(ge=1, le=MAX_EVERY_S)] | None = None
    """Seconds."""
    crontab: Crontab | None = None
    solar: Solar | None = None
    enabled: bool = True


_decode = msgspec.json.Decoder(ScheduleBody).decode


@dataclass(frozen=True, slots=True, kw_only=True)
class ScheduleRequest:
    """A checked body."""

    request: TaskRequest
    schedule: dict[str, Any]
    """As RedBeat keeps it, with its `__type__`."""
    enabled: bool
    tempts: bool
    """Whether RedBeat's decoder would take something in the arguments for an object of its own."""

    def definition(self, name: str) -> bytes:
        """Return what RedBeat keeps under `definition`, JSON.

        Args:
            name: Of the schedule.
        """
        request = self.request
        options = later_options(request.options, own_headers(request.options))
        if self.tempts:
            options["headers"] = {**options.get("headers", {}), JSON_HEADER: DATA}
        return orjson.dumps(
            {
                "name": name,
                "task": request.task,
                "args": orjson.Fragment(bytes(request.args)),
                "kwargs": orjson.Fragment(bytes(request.kwargs)),
                "options": options,
                "schedule": self.schedule,
                "enabled": self.enabled,
            }
        )


def parse_schedule(body: bytes) -> ScheduleRequest:
    """Parse and check the form of one schedule.

    Args:
        body: JSON, UTF-8.

    Raises:
        Problem: `malformed-json`, `invalid-request`.
    """
    form: ScheduleBody = decode_with(_decode, body)
    request = TaskRequest(form.task, form.args, form.kwargs, form.options)
    check_form(request)
    times(form.options, time.time())
    if form.options.eta is not None:
        raise invalid_request("$.options.eta", "Is one time, and a schedule has many")
    if isinstance(form.options.expires, str):
        raise invalid_request("$.options.expires", "Expected seconds: a schedule has many runs")
    tempts = False
    for at, raw in (("$.args", form.args), ("$.kwargs", form.kwargs)):
        value = json.loads(bytes(raw))
        fault = _fault(value)
        if fault is not None:
            raise invalid_request(at, fault)
        tempts = tempts or _tempts(value)
    given = [name for name in ("every", "crontab", "solar") if getattr(form, name) is not None]
    if len(given) != 1:
        raise invalid_request("$", "Expected exactly one of every, crontab and solar")
    if form.crontab is not None:
        schedule = _crontab(form.crontab)
    elif form.solar is not None:
        schedule = _solar(form.solar)
    else:
        schedule = {"__type__": "interval", "every": form.every, "relative": False}
    return ScheduleRequest(request=request, schedule=schedule, enabled=form.enabled, tempts=tempts)


def _crontab(form: Crontab) -> dict[str, Any]:
    fields = {name: str(getattr(form, name)) for name in RANGES}
    for name, text in fields.items():
        try:
            parse_field(name, text)
        except ValueError as error:
            raise invalid_request(f"$.crontab.{name}", str(error)) from None
    try:
        zone = time_zone(form.timezone)
    except ValueError as error:
        raise invalid_request("$.crontab.timezone", str(error)) from None
    try:
        parse_crontab(fields, zone)
    except ValueError as error:
        raise invalid_request("$.crontab", str(error)) from None
    schedule = {"__type__": "crontab", **fields}
    return schedule if form.timezone == "UTC" else {**schedule, "timezone": form.timezone}


def _solar(form: Solar) -> dict[str, Any]:
    if form.event not in EVENTS:
        raise invalid_request("$.solar.event", f"Expected one of {', '.join(EVENTS)}")
    schedule = {"__type__": "solar", **msgspec.structs.asdict(form)}
    if next_run(schedule, time.time()) is None:
        raise invalid_request("$.solar", f"{form.event} does not happen there within a year")
    return schedule


def _fault(value: Any) -> str | None:
    """Return why an argument cannot be kept and shown as it is; None: it can."""
    if isinstance(value, dict):
        return next(filter(None, map(_fault, value.values())), None)
    if isinstance(value, list):
        return next(filter(None, map(_fault, value)), None)
    if isinstance(value, int) and not -(1 << 63) <= value < 1 << 64:
        return "An integer is outside 64 bits"
    return None


def _tempts(value: Any) -> bool:
    """Return whether RedBeat's decoder takes something in it for an object of its own."""
    if isinstance(value, dict):
        return TYPE in value or any(map(_tempts, value.values()))
    return isinstance(value, list) and any(map(_tempts, value))


_raw_members = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_NOTHING = {"args": msgspec.Raw(b"[]"), "kwargs": msgspec.Raw(b"{}")}


def read_definition(text: bytes) -> dict[str, Any]:
    """Return the members of a definition as RedBeat keeps it; none where it is unreadable.

    `args` and `kwargs`, which are always there, stay raw: no value is made of them.
    """
    try:
        members = _raw_members(text)
        text.decode()
        return {
            name: orjson.loads(bytes(raw)) for name, raw in members.items() if name not in _NOTHING
        } | {
            name: nothing if bytes(members.get(name, b"null")) == b"null" else members[name]
            for name, nothing in _NOTHING.items()
        }
    except (msgspec.DecodeError, ValueError, RecursionError):
        return {}


def task_of(definition: Mapping[str, Any]) -> TaskRequest:
    """Return the submit that a run of a schedule is.

    Args:
        definition: From `read_definition`.

    Raises:
        Problem: `invalid-request` (queued: no): another program wrote it, in words that we lack.
    """
    try:
        options = client_options(definition.get("options") or {})
        known = {name: each for name, each in options.items() if name in Options.__struct_fields__}
        request = TaskRequest(
            str(definition.get("task")),
            definition["args"],
            definition["kwargs"],
            msgspec.convert(known, Options),
        )
    except (AttributeError, TypeError, ValueError) as error:
        raise invalid_request("$.options", str(error), queued="no") from None
    check_form(request)
    return request
