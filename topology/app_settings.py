"""The settings of a gateway in front of a Celery application: addresses, names, times."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode, urlsplit

from penstock.wire.app_description import AppDescription, Server
from penstock.wire.kept_results import LONGEST_S, kept_s
from penstock.wire.keys import DAY_S, RECORD_PREFIX
from topology.app_report import REDIS, Finding

_USUAL_S: Final = DAY_S
"""Celery's `result_expires` and the gateway's `RESULT_EXPIRES_S`, unless they say otherwise."""
_BROKER, _STATES, _PREFIX = "AMQP_URL", "REDIS_URL", "RESULT_KEY_PREFIX"
_KEPT, _LISTENS = "RESULT_EXPIRES_S", "CONTROL_EXCHANGES"
_CONTROL: Final = "celery"
"""Celery's `control_exchange`, unless an application says otherwise."""


def settings(apps: Iterable[AppDescription]) -> tuple[dict[str, str], list[Finding]]:
    """Return the settings of one gateway in front of applications, and what it cannot be for all.

    It has one broker and one Redis. Revocations go to the workers of all, and results count as kept
    for as long as the application does that keeps them longest.
    """
    common: dict[str, str] = {}
    clashes: list[Finding] = []
    for app in apps:
        own = dict(_of(app))
        clashes += _clashes(app, own, common)
        kept = max(int(one.get(_KEPT, 0)) for one in (own, common))
        listening = [one[_LISTENS] for one in (common, own) if _LISTENS in one]
        exchanges = dict.fromkeys(",".join(listening).split(","))
        common = {**own, **common, _KEPT: str(kept), _LISTENS: ",".join(exchanges)}
    usual = {_KEPT: str(_USUAL_S), _LISTENS: _CONTROL, _PREFIX: ""}
    return {name: value for name, value in common.items() if value != usual.get(name)}, clashes


def _of(app: AppDescription) -> Iterator[tuple[str, str]]:
    """Yield the settings that follow from one application: name and value."""
    if app.broker.kind.startswith("amqp") and app.broker.urls:
        yield _BROKER, _amqp_url(app.broker)
    if app.backend.kind in REDIS and app.backend.urls:
        yield _STATES, _redis_url(app.backend)
        exact = app.backend.task_keyprefix.removesuffix(RECORD_PREFIX)
        prefix = app.backend.global_keyprefix
        yield _PREFIX, prefix and (exact or prefix)
    yield _KEPT, str(_kept_s(app.settings.get("result_expires", _USUAL_S)))
    yield _LISTENS, str(app.settings.get("control_exchange") or _CONTROL)


def _clashes(
    app: AppDescription, own: Mapping[str, str], common: Mapping[str, str]
) -> Iterator[Finding]:
    """Find what an application has elsewhere than those before it."""
    apart = [
        name
        for name in (_BROKER, _STATES, _PREFIX)
        if name in own and name in common and _place(own[name]) != _place(common[name])
    ]
    for name in apart:
        what = {_BROKER: "submits", _STATES: "states", _PREFIX: "states"}[name]
        yield Finding(
            kind="no",
            text=f"{what} of {app.app}: {name}={own[name]}, and a gateway has one, "
            f"{common[name] or 'none'}: import it alone, for a gateway of its own",
            stops=name == _BROKER,
        )


def _place(url: str) -> str:
    """Return a setting without the account of a URL: each application may have its own."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _kept_s(result_expires: Any) -> int:
    """Return for how long a gateway has to count results as kept; what is no number is for ever."""
    known = isinstance(result_expires, int | float)
    return min(kept_s(result_expires if known else None), LONGEST_S)


def _amqp_url(broker: Server) -> str:
    """Write the broker as a gateway takes it: one URL, with `,` between servers that are alike."""
    parts = urlsplit(broker.urls[0])
    tls = broker.tls or parts.scheme.endswith("s")
    login, at, _ = parts.netloc.rpartition("@")
    hosts = _hosts(_alike(broker.urls))
    place = f"{login}{at}{hosts or 'localhost'}"
    return parts._replace(scheme="amqps" if tls else "amqp", netloc=place).geturl()


def _alike(urls: Sequence[str]) -> list[str]:
    """Return those that differ from the first in nothing but their host."""

    def rest(url: str) -> tuple[str, ...]:
        parts = urlsplit(url)
        return parts.netloc.rpartition("@")[0], parts.path, parts.query

    return [url for url in urls if rest(url) == rest(urls[0])]


def _hosts(urls: Iterable[str]) -> str:
    """Return the hosts of URLs, each once."""
    hosts = (urlsplit(url).netloc.rpartition("@")[2] for url in urls)
    return ",".join(dict.fromkeys(hosts))


def _redis_url(backend: Server) -> str:
    """Write the backend as a gateway takes it: Celery names each Sentinel by a URL."""
    parts = urlsplit(backend.urls[0])
    if backend.kind == "sentinel":
        scheme = "rediss+sentinel" if backend.tls else "redis+sentinel"
        hosts = _hosts(backend.urls)
        return f"{scheme}://{hosts}/{backend.primary or '<primary>'}{parts.path}"
    given = {  # Celery takes the names of Python's `ssl`, too
        name: value.lower().removeprefix("cert_") if name == "ssl_cert_reqs" else value
        for name, value in parse_qsl(parts.query)
    }
    scheme = "rediss" if backend.tls else parts.scheme
    netloc = parts.netloc or "localhost"
    return parts._replace(scheme=scheme, netloc=netloc, query=urlencode(given)).geturl()
