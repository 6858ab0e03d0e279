"""JSON body → TaskRequest. Pure.

The envelope is parsed once; arguments stay the client's raw JSON.
"""

import itertools
from collections.abc import Generator, Iterator, Mapping
from typing import Annotated, Any

import msgspec

from gateway.decoding import json_text
from gateway.decoding.steps import Pause, at_once, in_turns
from gateway.decoding.typed_json import decode_with, finite, malformed
from gateway.errors import Problem, invalid_request
from gateway.timestamps import Time
from penstock.wire.headers import is_reserved

MAX_DELAY_S = 365 * 86_400
"""Longest countdown or eta; one year."""
HIGHEST_PRIORITY = 9
MAX_KEY_BYTES = 255
"""UTF-8 size of an exchange's name, a queue's or a routing key: an AMQP short string."""
MAX_HEADERS_BYTES = 16 * 1024
"""JSON size of a submit's headers; with the protocol's own they must fit one AMQP frame."""

_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
_Key = Annotated[str, msgspec.Meta(max_length=255)]
_SECONDS = msgspec.Meta(gt=0, le=MAX_DELAY_S)
_Limit = Annotated[int, _SECONDS] | Annotated[float, _SECONDS]
"""Whole seconds stay whole: Celery's clients write `timelimit` as they are given it."""
_Expiry = Annotated[float, msgspec.Meta(gt=0, le=10 * MAX_DELAY_S)]
_Headers = Annotated[
    dict[str, Any],
    msgspec.Meta(
        extra_json_schema={
            "propertyNames": {"minLength": 1, "maxLength": 255},
            "additionalProperties": {"type": ["string", "number", "boolean", "null"]},
        }
    ),
]
"""Their form is checked by hand, see `_check_headers`."""
TaskName = Annotated[str, msgspec.Meta(min_length=1, max_length=255)]
Args = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "array", "default": []})]
Kwargs = Annotated[msgspec.Raw, msgspec.Meta(extra_json_schema={"type": "object", "default": {}})]
"""Arguments stay the client's bytes."""
_MAX_SAFE_DEPTH = 100
_SOON_READ_BYTES = 512
_OUT_OF_RANGE = "Number out of range"
"""What is built of so little costs less than to look for numbers in it."""
_NOT_SCALAR = "Expected a string, number, boolean or null"
_MIN_GUARDED_BYTES = 1024
"""In less there is no room for headers that cost much."""


def always(json: bytes) -> Any:
    """Return the default of a raw field: a value itself is one that msgspec cannot describe."""
    return msgspec.field(default_factory=itertools.repeat(msgspec.Raw(json)).__next__)


class Options(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """`options` of a submit. What depends on two of them is said in words, and checked here."""

    queue: _Name | None = None
    """Excludes `exchange` and `routing_key`. None of them: the route of the task."""
    exchange: _Key | None = None
    """One that the layout marks as publishable."""
    routing_key: _Key | None = None
    """Needs `exchange`."""
    priority: Annotated[int, msgspec.Meta(ge=0, le=HIGHEST_PRIORITY)] | None = None
    """Refused where no matched queue honours it."""
    countdown: Annotated[float, msgspec.Meta(ge=0, le=MAX_DELAY_S)] | None = None
    """Seconds until it may start, rounded up to whole ones."""
    eta: Time | None = None
    """Excludes `countdown`; up to a year from now. One that has passed runs now."""
    expires: _Expiry | str | None = None
    """Seconds from now, up to ten years, or a time; later than the start."""
    time_limit: _Limit | None = None
    """Seconds after which its worker stops it."""
    soft_time_limit: _Limit | None = None
    """Seconds after which it is told to end; not over `time_limit`."""
    ignore_result: bool = False
    """Keep no result: the task is not tracked."""
    headers: _Headers | None = None
    """The client's own; not `x-…`, nor a name that Celery's context, kombu's message or AMQP's
    properties know (`_children`, `compression`, `headers`, …), in any case or with `-`."""
    callback_url: Annotated[str, msgspec.Meta(max_length=2048)] | None = None
    """The final state is POSTed there, at least once, with X-Penstock-Event (the same for the same
    end), X-Penstock-Timestamp (unix seconds) and X-Penstock-Signature: v1= and the hex digits of
    HMAC-SHA256(CALLBACK_SECRET, timestamp + '.' + body). X-Penstock-Tenant, which is not signed,
    names the task's tenant where there are keys. Anything but a 2xx is tried again."""


NO_OPTIONS = Options()


class TaskRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """One submit, its form checked."""

    task: TaskName
    args: Args = always(b"[]")
    """Positional arguments."""
    kwargs: Kwargs = always(b"{}")
    """Arguments by name."""
    options: Options = NO_OPTIONS


class _HeadersOnly(msgspec.Struct):
    headers: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET


class _OptionsOnly(msgspec.Struct):
    """A submit, or a signature of a canvas, of which only the headers are looked at."""

    options: _HeadersOnly | None = None


_decode = msgspec.json.Decoder(TaskRequest, float_hook=finite).decode
_decode_headers = msgspec.json.Decoder(_OptionsOnly).decode
_raw_values = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def parse(body: bytes) -> TaskRequest:
    """Parse one submit.

    Raises:
        Problem: `malformed-json`, `invalid-request` (queued: no).
    """
    if len(body) >= _MIN_GUARDED_BYTES:
        guard_headers(body)
    request: TaskRequest = decode_with(_decode, body)
    if not _check_short_form(request):
        at_once(_form_steps(request))
    return request


async def parse_in_turns(body: bytes, pause: Pause) -> TaskRequest:
    """Parse one submit of any size, and leave the loop to others between two steps.

    Args:
        body: JSON of one task.
        pause: From `Turns.of`.

    Raises:
        Problem: As `parse`.
    """
    guard_headers(body)
    request: TaskRequest = decode_with(_decode, body)
    await in_turns(_form_steps(request), pause)
    return request


def guard_headers(body: bytes) -> None:
    """Refuse headers that hold more than headers may, before a value is built of them.

    Args:
        body: JSON with `options`, which may still be malformed.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    if len(body) < _MIN_GUARDED_BYTES:
        return
    try:
        options = _decode_headers(body).options
        if options is None or options.headers is msgspec.UNSET:
            return
        raw = bytes(options.headers)
        nested = raw.count(b"[") + raw.count(b"{") > 1
        values = _raw_values(raw) if nested else {}
    except (msgspec.DecodeError, RecursionError):
        return  # what decodes all of it names the place
    if len(raw) > 2 * MAX_HEADERS_BYTES:
        raise _invalid("$.options.headers", f"Over {MAX_HEADERS_BYTES} bytes")
    for name, value in values.items():
        if bytes(value)[:1] in {b"[", b"{"}:
            raise _invalid(f"$.options.headers.{name}", _NOT_SCALAR)


def check_form(request: TaskRequest) -> None:
    """Check what the types of a decoded submit do not say.

    Raises:
        Problem: `malformed-json`, `invalid-request` (queued: no).
    """
    if not _check_short_form(request):
        at_once(_form_steps(request))


def _check_short_form(request: TaskRequest) -> bool:
    """Check a submit whose arguments can hide nothing; false: `_form_steps` must look at them."""
    args, kwargs = bytes(request.args), bytes(request.kwargs)
    if args[:1] != b"[":
        raise _invalid("$.args", "Expected an array")
    if kwargs[:1] != b"{":
        raise _invalid("$.kwargs", "Expected an object")
    if len(args) + len(kwargs) >= _MAX_SAFE_DEPTH:
        return False  # they may be deep, or hold an integer of thousands of digits
    raw = b"%b,%b" % (args, kwargs)
    if (b"e" in raw or b"E" in raw) and not json_text.is_finite(b"[%b]" % raw):
        raise malformed(_OUT_OF_RANGE)
    if request.options is not NO_OPTIONS:
        _check_options(request.options)
    return True


def _form_steps(request: TaskRequest) -> Generator[None, None, None]:
    """Do `check_form` in steps of a few milliseconds."""
    if _check_short_form(request):
        return
    yield from _raw_steps(bytes(request.args))
    yield from _raw_steps(bytes(request.kwargs))
    if request.options is not NO_OPTIONS:
        _check_options(request.options)


def _raw_steps(raw: bytes) -> Iterator[None]:
    """Look for what a raw JSON value may hide from the envelope's parser, in steps.

    The parser skips over it, so numbers out of range and deep nesting go through; a worker's
    `json.loads` would make `inf` of the one (or refuse an integer of thousands of digits) and
    raise RecursionError on the other.

    Raises:
        Problem: `malformed-json` (queued: no).
    """
    if len(raw) < _MAX_SAFE_DEPTH and b"e" not in raw and b"E" not in raw:
        return
    yield
    deep = json_text.may_be_deeper(raw, _MAX_SAFE_DEPTH)
    if not deep and len(raw) <= _SOON_READ_BYTES:
        if json_text.is_finite(raw):
            return
        raise malformed(_OUT_OF_RANGE)
    if not deep and json_text.is_plain(raw):
        return
    flaw = yield from json_text.find_flaw(raw, _MAX_SAFE_DEPTH, keys=False)
    if flaw is not None and flaw.kind == "deep":
        raise malformed(f"nested over {_MAX_SAFE_DEPTH} levels deep")
    if flaw is not None:
        raise malformed(_OUT_OF_RANGE)


def _check_options(options: Options) -> None:
    """Exclusive and dependent options.

    Raises:
        Problem: `invalid-request` (queued: no).
    """
    if options.queue is not None and (options.exchange, options.routing_key) != (None, None):
        raise _invalid("$.options.queue", "Excludes exchange and routing_key")
    for name in ("queue", "exchange", "routing_key"):
        if len((getattr(options, name) or "").encode()) > MAX_KEY_BYTES:
            raise _invalid(f"$.options.{name}", f"Over {MAX_KEY_BYTES} bytes of UTF-8")
    if options.routing_key is not None and options.exchange is None:
        raise _invalid("$.options.routing_key", "Needs exchange")
    if options.countdown is not None and options.eta is not None:
        raise _invalid("$.options.eta", "Excludes countdown")
    if (
        options.time_limit is not None
        and options.soft_time_limit is not None
        and options.soft_time_limit > options.time_limit
    ):
        raise _invalid("$.options.soft_time_limit", "Is over time_limit")
    if options.headers is not None:
        _check_headers(options.headers)


def _check_headers(headers: Mapping[str, Any]) -> None:
    for name, value in headers.items():
        at = f"$.options.headers.{name}"
        if is_reserved(name):
            raise _invalid(at, "The name belongs to Celery, kombu or AMQP; choose another")
        if not 0 < len(name.encode("utf-8", "replace")) <= 255:
            raise _invalid(at, "The name is empty or over 255 bytes")
        if not isinstance(value, str | int | float | bool | None):
            raise _invalid(at, _NOT_SCALAR)
        if isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
            raise _invalid(at, "Outside 64 bits")
    if len(msgspec.json.encode(headers)) > MAX_HEADERS_BYTES:
        raise _invalid("$.options.headers", f"Over {MAX_HEADERS_BYTES} bytes")


def _invalid(at: str, detail: str) -> Problem:
    return invalid_request(at, detail, queued="no")
