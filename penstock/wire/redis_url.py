"""The address of Redis, read alike by every process: one server, or the primary behind Sentinels.

    redis://[user:password@]host[:port][/database]                      rediss:// with TLS
    redis+sentinel://[user:password@]host[:port],host[:port]…/primary[/database]
                                                                        rediss+sentinel:// with TLS

User and password are those of the servers. Those of the Sentinels, if they ask for any, stand in
the query: `redis+sentinel://…/primary?sentinel_username=user&sentinel_password=secret`.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qsl, unquote, urlencode, urlsplit

from penstock.wire import hosts

SENTINEL_PORT = 26379
SCHEMES = ("redis", "rediss", "redis+sentinel", "rediss+sentinel")
_OTHERS = {
    "redis+cluster": "Redis Cluster",
    "rediss+cluster": "Redis Cluster",
    "redis-cluster": "Redis Cluster",
    "sentinel": "Celery's form of Sentinels",
    "redis-sentinel": "RedBeat's form of Sentinels",
}
_REMEDY = {
    "Redis Cluster": "is not supported: use one primary, behind Sentinels if it is to fail over "
    "(redis+sentinel://host,host/primary); docs/clusters.md says why"
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisUrl:
    """Where Redis is, and how to log in."""

    server: str = field(repr=False)
    """What client libraries take: `redis://` or `rediss://`. Behind Sentinels its host is the first
    of them: user, password, database and parameters are the primary's."""
    sentinels: tuple[tuple[str, int], ...] = ()
    """Host and port of each; none: `server` is the server."""
    primary: str = ""
    """What the Sentinels call it."""
    sentinel_login: tuple[str | None, str | None] = field(default=(None, None), repr=False)
    """User and password of the Sentinels."""


def read(url: str, *, socket: bool = True) -> RedisUrl:
    """Read a URL.

    Args:
        url: of Redis.
        socket: whether `unix://` will do.

    Raises:
        ValueError: what is wrong with it, in words that follow on its name; without its secrets.
    """
    scheme, colon, rest = url.partition("://")
    if kind := _OTHERS.get(scheme):
        remedy = _REMEDY.get(kind, "is not read: write redis+sentinel://host,host/primary")
        raise ValueError(f"{kind} ({scheme}://) {remedy}")
    if not colon or scheme not in (*SCHEMES, *(["unix"] if socket else [])):
        words = " or ".join(f"{one}://" for one in SCHEMES)
        raise ValueError(f"must begin with {words}")
    if scheme != "unix" and (wrong := hosts.misread(url)):
        raise ValueError(wrong)
    if "sentinel" not in scheme:
        if scheme != "unix" and (wrong := hosts.bad_port(url)):
            raise ValueError(wrong)
        return RedisUrl(server=url)
    place, _, query = rest.partition("?")
    netloc, _, path = place.partition("/")
    login, at, names = netloc.rpartition("@")
    primary, _, database = path.partition("/")
    if not primary:
        raise ValueError(f"names no primary behind its hosts: {scheme}://host,host/primary")
    if database and not database.isdigit():
        raise ValueError("has something else than the number of a database behind the primary")
    sentinels = tuple(_host(one) for one in names.split(","))
    given = dict(parse_qsl(query, keep_blank_values=True))
    user, password = given.pop("sentinel_username", None), given.pop("sentinel_password", None)
    host, port = sentinels[0]
    shown = f"[{host}]" if ":" in host else host
    server = f"{scheme.removesuffix('+sentinel')}://{login}{at}{shown}:{port}/{database or 0}"
    return RedisUrl(
        server=f"{server}?{urlencode(given)}" if given else server,
        sentinels=sentinels,
        primary=unquote(primary),
        sentinel_login=(user, password),
    )


def without_login(url: str) -> str:
    """Return a URL as people may see it: scheme, hosts and path."""
    scheme, colon, rest = url.partition("://")
    place = rest.partition("?")[0]
    netloc, slash, path = place.partition("/")
    return f"{scheme}{colon}{netloc.rpartition('@')[2]}{slash}{path}"


def latest(answers: Iterable[Mapping[str, Any]]) -> tuple[str, int] | None:
    """Return the address of the primary, of what several Sentinels say; None: none knows it.

    Each failover raises the epoch: a Sentinel that slept through the last one, or that is cut off
    with the old primary, is outvoted by one that took part.

    Args:
        answers: to `SENTINEL MASTER`, with their fields as text.
    """
    known = [one for one in answers if one.get("ip") and one.get("port")]
    if not known:
        return None
    newest = max(known, key=lambda one: int(one.get("config-epoch", 0)))
    return str(newest["ip"]), int(newest["port"])


def _host(text: str) -> tuple[str, int]:
    try:
        parts = urlsplit(f"//{text.strip()}")
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host:
        raise ValueError("has a Sentinel that is no host[:port]")
    return host, port or SENTINEL_PORT
