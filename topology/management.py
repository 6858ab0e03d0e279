"""What is live on a broker, read from RabbitMQ's management API. Blocking: for the command line."""

import base64
import json
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote, unquote, urlsplit
from urllib.request import Request, urlopen

from penstock.wire import tls
from topology.declarations import BindingDeclaration

TIMEOUT_S = 10.0


class ManagementError(Exception):
    """The management API did not answer as expected; the message says how."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Live:
    """Everything in one virtual host."""

    exchanges: Mapping[str, Mapping[str, Any]]
    """By name: type, durable, auto_delete, internal and the AMQP arguments, in one table."""
    queues: Mapping[str, Mapping[str, Any]]
    """By name: durable, exclusive, auto_delete and the AMQP arguments, in one table."""
    bindings: tuple[BindingDeclaration, ...]
    """Without those of the default exchange, which every queue has."""
    depths: Mapping[str, int]
    """Messages per queue, as RabbitMQ sampled them some seconds ago."""


def fetch(management_url: str, vhost: str) -> Live:
    """List one virtual host.

    Args:
        management_url: ``http://user:password@host:port``, or ``https://…``, whose private CA is
            in the file that ``?cafile=`` names.
        vhost: its name, ``/`` by default in AMQP.

    Raises:
        ManagementError: no answer within ten seconds, or a refusal.
    """
    exchanges, queues, bindings = (
        _get(management_url, f"api/{what}/{quote(vhost, safe='')}")
        for what in ("exchanges", "queues", "bindings")
    )
    return Live(
        exchanges={
            row["name"]: {key: row[key] for key in ("type", "durable", "auto_delete", "internal")}
            | row["arguments"]
            for row in exchanges
        },
        queues={
            row["name"]: {key: row[key] for key in ("durable", "exclusive", "auto_delete")}
            | row["arguments"]
            for row in queues
        },
        bindings=tuple(
            BindingDeclaration(
                source=row["source"],
                destination=row["destination"],
                destination_type=row["destination_type"],
                key=row["routing_key"],
                arguments=row["arguments"],
            )
            for row in bindings
            if row["source"]
        ),
        depths={row["name"]: row.get("messages", 0) for row in queues},
    )


def _get(management_url: str, path: str) -> list[dict[str, Any]]:
    parts = urlsplit(management_url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ManagementError("the management URL must be http(s)://user:password@host:port")
    host = parts.netloc.rpartition("@")[2]
    credentials = f"{unquote(parts.username or 'guest')}:{unquote(parts.password or 'guest')}"
    request = Request(  # noqa: S310 - the scheme is checked above
        f"{parts.scheme}://{host}{parts.path.rstrip('/')}/{path}",
        headers={"Authorization": f"Basic {base64.b64encode(credentials.encode()).decode()}"},
    )
    ca = tls.parameters(management_url).get("cafile")
    try:
        context = ssl.create_default_context(cafile=ca) if ca else None
        with urlopen(request, timeout=TIMEOUT_S, context=context) as answer:  # noqa: S310
            rows: list[dict[str, Any]] = json.load(answer)
    except HTTPError as error:
        with error:
            raise ManagementError(f"{host}/{path}: {error.code} {error.reason}") from error
    except (URLError, OSError, ValueError) as error:
        raise ManagementError(f"{host}/{path}: {getattr(error, 'reason', error)}") from error
    return rows
