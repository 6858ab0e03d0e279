"""TaskRequest → bytes of a Celery protocol 2 message, as AMQP frames. Pure.

All that is constant for a (task, exchange, routing key, options) is encoded once in a template;
a publish splices in the id (four times), the headers of its request, the sizes and the body:

    method frame    Basic.Publish: exchange, routing key, mandatory
    header frame    body size │ properties │ request … headers … id, root_id │ correlation_id,
                    message_id
    body frames     [args, kwargs, embed], split at the connection's frame_max

Encoded by hand: with pamqp's (4.0) method and properties around our table it would be 20 lines
shorter, and 40 % slower for each template; one with a time in it is made for one message.

Sources: AMQP 0-9-1 section 2.3.5 (frames); Celery's `celery.app.amqp.AMQP.as_task_v2`. The
contract test holds both against each other.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache
from itertools import starmap
from typing import Any, Final

import msgspec

from gateway.rabbitmq.field_table import short_string, table_field
from penstock.wire.headers import JSON_HEADER
from penstock.wire.json_meaning import DATA

_PUBLISH = struct.pack(">HHH", 60, 40, 0)
_MANDATORY = b"\x01"
_CLASS_AND_WEIGHT = struct.pack(">HH", 60, 0)
_FRAME_END = b"\xce"
NOTHING_FOLLOWS = b'{"callbacks":null,"errbacks":null,"chain":null,"chord":null}'
"""Last member of the body of a task that belongs to no canvas."""

_SAME_OF_ALL: Final[Mapping[str, Any]] = {
    JSON_HEADER: DATA,  # what a body from a client's JSON means: each object is what it is
    "lang": "py",
    "shadow": None,
    "retries": 0,
    "replaced_task_nesting": 0,
    "stamped_headers": None,
    "stamps": {},
}
_RECURRING: Final = (
    "task", "eta", "expires", "group", "timelimit", "parent_id", "origin", "ignore_result",
    "root_id",
)  # fmt: skip
_OURS: Final = frozenset({*_SAME_OF_ALL, *_RECURRING, "group_index"})
"""What no further header replaces."""
_SAME_FIELDS: Final = b"".join(starmap(table_field, _SAME_OF_ALL.items()))
_CELERYS_FIELDS: Final = b"".join(
    table_field(name, value) for name, value in _SAME_OF_ALL.items() if name != JSON_HEADER
)
"""The same where the body means what Celery's client says."""
_ID_FIELD: Final = short_string("id") + b"S"
_ROOT_FIELD: Final = short_string("root_id") + b"S"
_JSON_UTF_8: Final = short_string("application/json") + short_string("utf-8")

_FLAG_CONTENT_TYPE = 1 << 15
_FLAG_CONTENT_ENCODING = 1 << 14
_FLAG_HEADERS = 1 << 13
_FLAG_DELIVERY_MODE = 1 << 12
_FLAG_PRIORITY = 1 << 11
_FLAG_CORRELATION_ID = 1 << 10
_FLAG_REPLY_TO = 1 << 9
_FLAG_EXPIRATION = 1 << 8
_FLAG_MESSAGE_ID = 1 << 7
_ALWAYS = (
    _FLAG_CONTENT_TYPE
    | _FLAG_CONTENT_ENCODING
    | _FLAG_HEADERS
    | _FLAG_DELIVERY_MODE
    | _FLAG_CORRELATION_ID
    | _FLAG_MESSAGE_ID
)


class MessageOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The fields of a task message that vary between submits of one task."""

    eta: str | None = None
    """When the task is due, ISO 8601 with offset; informs the worker, the broker delays."""
    expires: str | None = None
    """When the task must no longer start, ISO 8601 with offset."""
    expiration_ms: int | None = None
    """AMQP expiration of a message that is not delayed; milliseconds."""
    time_limit_s: float | None = None
    """Hard time limit; seconds."""
    soft_time_limit_s: float | None = None
    """Soft time limit; seconds."""
    priority: int | None = None
    """AMQP priority, 0–9."""
    ignore_result: bool = False
    """No record is kept."""
    group_id: str | None = None
    """The group that the task belongs to."""
    group_index: int | None = None
    """Its position there."""
    root_id: str | None = None
    """The first task of its canvas; None: the task itself."""
    parent_id: str | None = None
    """The task that called it."""
    reply_to: str = ""
    """Celery's client writes its own id here, which only its result backend `rpc` reads."""
    envelopes: bool = False
    """Whether objects of kombu's form in the body are values, as in what Celery's client writes."""
    headers: tuple[tuple[str, Any], ...] = ()
    """Further headers: the user's, and ours (`x-penstock-…`)."""


class Template(msgspec.Struct, frozen=True):
    """Everything of a message but its id, body and channel. Made by `template()`."""

    exchange: str
    routing_key: str
    method: bytes
    """Basic.Publish behind the channel number, with the header frame's type octet."""
    header_size: int
    """Size of the header frame without further headers, octets."""
    before_table: bytes
    """Property flags up to the headers."""
    table_size: int
    """Size of the headers without further ones, octets."""
    table: bytes
    """The headers up to the id."""
    before_root: bytes
    before_correlation: bytes
    before_message_id: bytes

    def __repr__(self) -> str:
        return f"<Template {self.exchange!r} {self.routing_key!r}>"

    def frames(
        self,
        *,
        channel: bytes,
        task_id: bytes,
        body: bytes,
        frame_max: int,
        message_id: bytes | None = None,
        headers: bytes = b"",
    ) -> bytes:
        """Return the message as AMQP frames.

        Args:
            channel: Channel number, two octets.
            task_id: The id, as many octets as `template()` was given.
            body: The whole body.
            frame_max: Negotiated frame size, octets.
            message_id: Defaults to the id; of the same length.
            headers: Further fields of the headers, encoded.
        """
        size = len(body)
        if 0 < size <= frame_max - 8:
            tail = b"".join((b"\x03", channel, size.to_bytes(4, "big"), body, _FRAME_END))
        else:
            step = frame_max - 8
            chunks: list[bytes] = []
            for start in range(0, size, step):
                chunk = body[start : start + step]
                chunks += (b"\x03", channel, len(chunk).to_bytes(4, "big"), chunk, _FRAME_END)
            tail = b"".join(chunks)
        return b"".join(
            (
                b"\x01",
                channel,
                self.method,
                channel,
                (self.header_size + len(headers)).to_bytes(4, "big"),
                _CLASS_AND_WEIGHT,
                size.to_bytes(8, "big"),
                self.before_table,
                (self.table_size + len(headers)).to_bytes(4, "big"),
                headers,
                self.table,
                task_id,
                self.before_root,
                task_id if self.before_root else b"",
                self.before_correlation,
                task_id,
                self.before_message_id,
                message_id or task_id,
                _FRAME_END,
                tail,
            )
        )


@lru_cache(maxsize=1024, typed=True)
def _recurring_fields(
    task: str,
    eta: str | None,
    expires: str | None,
    group_id: str | None,
    time_limit_s: float | None,
    soft_time_limit_s: float | None,
    parent_id: str | None,
    root_id: str | None,
    origin: str,
    *,
    ignore_result: bool,
) -> bytes:
    """Encode the headers that the members of a group have in common, among others."""
    limits = [time_limit_s, soft_time_limit_s]
    values = (task, eta, expires, group_id, limits, parent_id, origin, ignore_result)
    known = values if root_id is None else (*values, root_id)
    return b"".join(map(table_field, _RECURRING, known))


def template(
    task: str,
    exchange: str,
    routing_key: str,
    options: MessageOptions,
    *,
    origin: str,
    id_length: int,
) -> Template:
    """Encode what does not change.

    Args:
        task: Task name.
        exchange: Exchange that the message is published to.
        routing_key: Its routing key, at most 255 octets.
        options: The rest of the message's fields.
        origin: Who publishes: `penstock@host`.
        id_length: Octets of the ids that will be spliced in.
    """
    own_root = options.root_id is None
    table = b"".join(
        (
            _SAME_FIELDS if not options.envelopes else _CELERYS_FIELDS,
            *(table_field(name, value) for name, value in options.headers if name not in _OURS),
            _recurring_fields(
                task,
                options.eta,
                options.expires,
                options.group_id,
                options.time_limit_s,
                options.soft_time_limit_s,
                options.parent_id,
                options.root_id,
                origin,
                ignore_result=options.ignore_result,
            ),
            table_field("group_index", options.group_index),
        )
    )
    id_field = _ID_FIELD + id_length.to_bytes(4, "big")
    root_field = _ROOT_FIELD + id_length.to_bytes(4, "big") if own_root else b""
    table_size = len(table) + len(id_field) + len(root_field) + id_length * (1 + own_root)

    flags = _ALWAYS
    after = b"\x02"  # delivery mode: persistent
    if options.priority is not None:
        flags |= _FLAG_PRIORITY
        after += bytes((options.priority,))
    after += bytes((id_length,))
    before_message_id = b""
    if options.reply_to:
        flags |= _FLAG_REPLY_TO
        before_message_id += short_string(options.reply_to)
    if options.expiration_ms is not None:
        flags |= _FLAG_EXPIRATION
        before_message_id += short_string(str(options.expiration_ms))
    before_message_id += bytes((id_length,))
    before_table = flags.to_bytes(2, "big") + _JSON_UTF_8
    table += id_field
    header_payload = (
        12
        + len(before_table)
        + 4
        + len(table)
        + len(root_field)
        + len(after)
        + len(before_message_id)
        + id_length * (3 + own_root)
    )
    method = _PUBLISH + short_string(exchange) + short_string(routing_key) + _MANDATORY
    return Template(
        exchange=exchange,
        routing_key=routing_key,
        method=len(method).to_bytes(4, "big") + method + _FRAME_END + b"\x02",
        header_size=header_payload,
        before_table=before_table,
        table_size=table_size,
        table=table,
        before_root=root_field,
        before_correlation=after,
        before_message_id=before_message_id,
    )


cached_template = lru_cache(maxsize=4096)(template)
"""`template` for options that recur; not for those with a time in them."""


def task_body(args: bytes, kwargs: bytes, embed: bytes = NOTHING_FOLLOWS) -> bytes:
    """Return the message body from the client's raw JSON of args (an array) and kwargs (an object).

    Args:
        args: An array; bytes, or msgspec's Raw.
        kwargs: An object.
        embed: What follows the task: callbacks, errbacks, chain and chord.
    """
    return b"".join((b"[", args, b",", kwargs, b",", embed, b"]"))


def with_first(args: bytes, first: bytes) -> bytes:
    """Return the array of arguments with one more in front.

    Args:
        args: An array.
        first: Any JSON value.
    """
    rest = bytes(args).strip()[1:].lstrip()
    return b"[%b%b%b" % (first, b"" if rest.startswith(b"]") else b",", rest)
