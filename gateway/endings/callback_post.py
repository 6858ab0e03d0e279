"""One POST of a final state: signed, to an allowed host, at an address that was looked at.

Signature: HMAC-SHA256 with CALLBACK_SECRET over `<X-Penstock-Timestamp>.<body>`, as
`X-Penstock-Signature: v1=<hex>`. The receiver checks that the time is near and that it does not
know the event yet: delivery is at least once. `X-Penstock-Tenant` is not signed: receivers compute
the signature of what it always was. Who must be sure whose a task is asks for its id with a key.
"""

import hashlib
import hmac
import socket
import time
from fnmatch import fnmatchcase
from urllib.parse import quote

import aiohttp
from yarl import URL

from gateway.config import GatewayConfig
from gateway.endings.callback_names import LookUp, NotLookedUpError, Resolver, is_public
from gateway.errors import invalid_request
from gateway.telemetry.tracing import Spans
from penstock.wire.headers import TRACEPARENT
from penstock.wire.names import CALLBACKS_QUEUE
from topology.model import Topology

CONNECT_TIMEOUT_S = 5.0
TOTAL_TIMEOUT_S = 15.0
_PLAIN = "".join(map(chr, range(0x21, 0x7F))).replace("%", "")
"""What stands in a header as it is; of a tenant's name all else is percent-encoded."""


class CallbackFailedError(Exception):
    """It was not delivered.

    Args:
        reason: For logs and dead letters; holds no secrets.
        final: Trying again cannot help.
        answered: There was an answer, with a status that is no 2xx; None: it was not called.
    """

    def __init__(self, reason: str, *, final: bool = False, answered: bool | None = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.final = final
        self.answered = answered


def is_web_url(url: str) -> bool:
    """Whether it is an absolute http or https URL.

    Args:
        url: As the client gave it.
    """
    try:
        parsed = URL(url)
        return parsed.scheme in {"http", "https"} and bool(parsed.host)
    except ValueError:
        return False


def host_allowed(url: str, patterns: tuple[str, ...]) -> bool:
    """Whether a callback may go to the host of an URL.

    Args:
        url: As the client gave it; parsed as the HTTP client will parse it.
        patterns: Allowed hosts (fnmatch).
    """
    if not is_web_url(url):
        return False
    host = (URL(url).host or "").lower().rstrip(".")
    return any(fnmatchcase(host, pattern.lower()) for pattern in patterns)


def check_url(url: str, topology: Topology, patterns: tuple[str, ...]) -> None:
    """Let a `callback_url` through that may be called.

    Args:
        url: As the client gave it.
        topology: Callbacks need a queue of it.
        patterns: Allowed hosts (fnmatch).

    Raises:
        Problem: `invalid-request` at `$.options.callback_url` (queued: no).
    """
    if not topology.has_callbacks:
        fault = f"Needs the queue {CALLBACKS_QUEUE!r} in the layout, and no app that owns it"
    elif not is_web_url(url):
        fault = "Expected an absolute http or https URL"
    elif not host_allowed(url, patterns):
        fault = "CALLBACK_HOSTS does not allow this host"
    else:
        return
    raise invalid_request("$.options.callback_url", fault, queued="no")


class CallbackPost:
    """Sends final states.

    Args:
        config: Allowed hosts, whether private addresses are allowed, the secret.
        spans: Of the gateway; None: tracing is off.
        look_up: Finds addresses of names.
    """

    def __init__(
        self,
        config: GatewayConfig,
        spans: Spans | None = None,
        look_up: LookUp = socket.getaddrinfo,
    ) -> None:
        self._config = config
        self._spans = spans
        self._look_up = look_up
        self._session: aiohttp.ClientSession | None = None
        self._resolver: Resolver | None = None

    async def send(
        self,
        url: str,
        event_id: str,
        body: bytes,
        *,
        traceparent: str | None = None,
        tenant: str | None = None,
    ) -> None:
        """POST once, as a span of the task's trace.

        Args:
            url: Where to.
            event_id: Of the event.
            body: JSON.
            traceparent: Of the task, where it is part of a trace.
            tenant: Whose the task is; sent where there are keys.

        Raises:
            CallbackFailedError: The host or its address is not allowed, no answer, or not a 2xx.
        """
        headers = {"X-Penstock-Event": event_id}
        if tenant and self._config.keys_file is not None:
            headers["X-Penstock-Tenant"] = quote(tenant, safe=_PLAIN)
        if self._spans is None or traceparent is None:
            await self._send(url, headers, body, traceparent)
            return
        with self._spans.callback(URL(url).host or "", traceparent) as handed_on:
            await self._send(url, headers, body, handed_on)

    async def _send(
        self, url: str, event: dict[str, str], body: bytes, traceparent: str | None
    ) -> None:
        """POST once.

        Args:
            url: Where to.
            event: Headers that name it.
            body: JSON.
            traceparent: Header that is sent.

        Raises:
            CallbackFailedError: The host or its address is not allowed, no answer, or not a 2xx.
        """
        if not host_allowed(url, self._config.callback_hosts):
            raise CallbackFailedError("the host is not allowed", final=True)
        if not self._config.callback_private and _is_private_literal(url):
            raise CallbackFailedError("the address is private", final=True)
        now = str(int(time.time()))
        headers = {
            "Content-Type": "application/json; charset=utf-8",
            "User-Agent": "penstock",
            **event,
            "X-Penstock-Timestamp": now,
            "X-Penstock-Signature": sign(self._config.callback_secret, now, body),
        }
        if traceparent is not None:
            headers[TRACEPARENT] = traceparent
        try:
            async with self._open().post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                status = response.status
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError) as error:
            called = not isinstance(error.__cause__, NotLookedUpError)
            raise CallbackFailedError(
                f"{type(error).__name__}: {error}"[:500], answered=False if called else None
            ) from error
        if not 200 <= status < 300:
            raise CallbackFailedError(f"the answer was {status}", answered=True)

    async def close(self) -> None:
        """Close connections."""
        if self._session is not None and self._resolver is not None:
            await self._session.close()
            await self._resolver.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._resolver = Resolver(private=self._config.callback_private, look_up=self._look_up)
            self._session = aiohttp.ClientSession(
                # No limit: `Receivers` bounds calls, and knows which receiver must wait.
                connector=aiohttp.TCPConnector(
                    resolver=self._resolver, use_dns_cache=False, limit=0
                ),
                timeout=aiohttp.ClientTimeout(
                    total=TOTAL_TIMEOUT_S, connect=CONNECT_TIMEOUT_S, sock_connect=CONNECT_TIMEOUT_S
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                trust_env=False,
            )
        return self._session


def sign(secret: bytes, timestamp: str, body: bytes) -> str:
    """The value of `X-Penstock-Signature`.

    Args:
        secret: CALLBACK_SECRET.
        timestamp: Of `X-Penstock-Timestamp`.
        body: As sent.
    """
    digest = hmac.new(secret, timestamp.encode() + b"." + body, hashlib.sha256)
    return f"v1={digest.hexdigest()}"


def _is_private_literal(url: str) -> bool:
    """Whether the host is written as an address, and a private one: no resolver sees these."""
    try:
        return not is_public(URL(url).host or "")
    except ValueError:
        return False
