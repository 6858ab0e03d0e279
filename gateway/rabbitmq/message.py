"""A message of any kind, for what is published seldom: replayed dead letters, control commands."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from pamqp import frame
from pamqp.body import ContentBody
from pamqp.commands import Basic
from pamqp.header import ContentHeader

from gateway.rabbitmq.field_table import table_field

_FRAME_OVERHEAD: Final = 8
_PERSISTENT: Final = 2
_TRANSIENT: Final = 1


class Publishable(Protocol):
    """What the publisher writes: all of a message but its id, body and channel."""

    @property
    def exchange(self) -> str:
        """Where it is published."""

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
            task_id: What the message is about.
            body: The whole body.
            frame_max: Negotiated frame size, octets.
            message_id: Unique among the messages in flight; defaults to the id.
            headers: Further fields of the headers, encoded; of task messages only.
        """


class _Properties(Basic.Properties):
    """Properties whose headers are written as `field_table` does."""

    def encode_property(self, name: str, value: Any) -> bytes:
        """Return one property."""
        if name != "headers":
            return super().encode_property(name, value)
        table = b"".join(table_field(key, one) for key, one in value.items())
        return len(table).to_bytes(4, "big") + table


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A message but for its id and body."""

    exchange: str
    routing_key: str
    headers: Mapping[str, Any] = field(repr=False)
    content_type: str | None = "application/json"
    content_encoding: str | None = "utf-8"
    correlation_id: str | None = None
    reply_to: str | None = None
    priority: int | None = None
    persistent: bool = True
    """Whether it survives a restart of RabbitMQ."""
    mandatory: bool = True
    """Whether RabbitMQ returns it when no queue takes it."""

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
        """Return the message as AMQP frames; see `Publishable`."""
        assert not headers  # noqa: S101  # they are in `headers` of the message
        number = int.from_bytes(channel, "big")
        properties = _Properties(
            content_type=self.content_type,
            content_encoding=self.content_encoding,
            headers=dict(self.headers),
            delivery_mode=_PERSISTENT if self.persistent else _TRANSIENT,
            priority=self.priority,
            correlation_id=self.correlation_id,
            reply_to=self.reply_to,
            message_id=(message_id or task_id).decode(),
        )
        publish = Basic.Publish(
            exchange=self.exchange, routing_key=self.routing_key, mandatory=self.mandatory
        )
        step = frame_max - _FRAME_OVERHEAD
        parts: list[Basic.Publish | ContentHeader | ContentBody]
        parts = [publish, ContentHeader(body_size=len(body), properties=properties)]
        parts += [ContentBody(body[at : at + step]) for at in range(0, len(body), step)]
        return b"".join(frame.marshal(part, number) for part in parts)
