"""RabbitMQ's management API: figures of queues for people, never for the submit path."""

import ssl
from collections.abc import Mapping, Sequence
from urllib.parse import quote

import aiohttp
import msgspec
from yarl import URL

from gateway.errors import Problem
from penstock.wire import tls
from penstock.wire.hosts import vhost_of

TIMEOUT_S = 3.0
"""Longest wait for one answer."""
_COLUMNS = (
    "name,messages_ready,messages_unacknowledged,consumers,message_stats.publish_details.rate,"
    "message_stats.deliver_get_details.rate,message_stats.ack_details.rate"
)


class _Rate(msgspec.Struct):
    rate: float = 0.0


class _Stats(msgspec.Struct):
    publish_details: _Rate = msgspec.field(default_factory=_Rate)
    deliver_get_details: _Rate = msgspec.field(default_factory=_Rate)
    ack_details: _Rate = msgspec.field(default_factory=_Rate)


class QueueFigures(msgspec.Struct):
    """One queue, as RabbitMQ sampled it some seconds ago; a new one has no figures yet."""

    name: str
    messages_ready: int = 0
    messages_unacknowledged: int = 0
    consumers: int = 0
    message_stats: _Stats = msgspec.field(default_factory=_Stats)


def added(figures: Mapping[str, QueueFigures], shards: Sequence[str]) -> QueueFigures | None:
    """Add up the shards of a queue; None: RabbitMQ knows none.

    Consumers are those of the shard with the most, as a worker consumes them all.

    Args:
        figures: Of every queue.
        shards: The queues of RabbitMQ behind it.
    """
    found = [figures[name] for name in shards if name in figures]
    if len(found) <= 1:
        return found[0] if found else None
    stats = [one.message_stats for one in found]
    return QueueFigures(
        name=shards[0],
        messages_ready=sum(one.messages_ready for one in found),
        messages_unacknowledged=sum(one.messages_unacknowledged for one in found),
        consumers=max(one.consumers for one in found),
        message_stats=_Stats(
            _Rate(sum(one.publish_details.rate for one in stats)),
            _Rate(sum(one.deliver_get_details.rate for one in stats)),
            _Rate(sum(one.ack_details.rate for one in stats)),
        ),
    )


_decode = msgspec.json.Decoder(list[QueueFigures]).decode


class Management:
    """The queues of one virtual host.

    Args:
        url: `http://user:password@host:port`; a path in front of `/api` is kept. `https://` checks
            the certificate, against the CA of `?cafile=` if it names one.
        amqp_url: Names the virtual host.
    """

    def __init__(self, url: str, amqp_url: str) -> None:
        parsed = URL(url)
        self._auth = aiohttp.encode_basic_auth(parsed.user or "guest", parsed.password or "guest")
        vhost = quote(vhost_of(amqp_url), safe="")
        base = str(parsed.with_user(None).with_query(None)).rstrip("/")
        self._ca = parsed.query.get("cafile")
        self._https = parsed.scheme == "https"
        self._files = tls.Files(parsed.query)
        self._queues = URL(f"{base}/api/queues/{vhost}?columns={_COLUMNS}", encoded=True)
        self._session: aiohttp.ClientSession | None = None

    async def queues(self) -> dict[str, QueueFigures]:
        """The figures of every queue by its name.

        Raises:
            Problem: `metrics-unavailable`.
        """
        if self._files.replaced():
            await self.close()
        if self._session is None:
            checked = ssl.create_default_context(cafile=self._ca) if self._https else True
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(ssl=checked),
                headers={"Authorization": self._auth},
                timeout=aiohttp.ClientTimeout(total=TIMEOUT_S),
            )
        try:
            async with self._session.get(self._queues, allow_redirects=False) as answer:
                if answer.status != 200:
                    raise _unavailable(f"it answered {answer.status}")
                rows = _decode(await answer.read())
        except (aiohttp.ClientError, TimeoutError) as error:
            raise _unavailable(type(error).__name__) from None
        except msgspec.DecodeError as error:
            raise _unavailable(str(error)) from None
        return {row.name: row for row in rows}

    async def close(self) -> None:
        """Close its connections."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def _unavailable(reason: str) -> Problem:
    return Problem("metrics-unavailable", f"RabbitMQ's management API: {reason}")
