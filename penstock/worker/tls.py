"""The servers' URLs as Celery and its libraries must be told them, from the form that all share.

kombu refuses aio-pika's parameters, and checks no host name unless it is given one; Celery refuses
a `rediss://` that does not say what it checks.
"""

import logging
import ssl
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from celery.signals import after_setup_logger

from penstock.wire.hosts import shuffled
from penstock.wire.tls import parameters

_logger = logging.getLogger(__name__)

_KOMBU_TAKES = frozenset({"heartbeat", "login_method"})


def broker_settings(amqp_url: str) -> dict[str, Any]:
    """Return Celery's settings of the broker.

    Args:
        amqp_url: in aio-pika's form: `amqps://…?cafile=…`, also `certfile`, `keyfile` and
            `no_verify_ssl=1`; its other parameters are the gateway's own and left out. Of a
            cluster it names all hosts.
    """
    parts, given = urlsplit(amqp_url), parameters(amqp_url)
    kept = urlencode({name: value for name, value in given.items() if name in _KOMBU_TAKES})
    urls = shuffled(urlunsplit(parts._replace(query=kept)))
    return {
        "broker_url": urls if len(urls) > 1 else urls[0],
        "broker_use_ssl": _ssl_options(urls, given) if parts.scheme == "amqps" else False,
    }


def redis_url(url: str) -> str:
    """Return a URL of Redis that says that certificates are checked, unless it says otherwise."""
    parts, given = urlsplit(url), parameters(url)
    if not parts.scheme.startswith("rediss") or "ssl_cert_reqs" in given:
        return url
    query = "&".join(filter(None, (parts.query, "ssl_cert_reqs=required")))
    return urlunsplit(parts._replace(query=query))


def backend_url(conf: Any) -> str:
    """Return the URL of the result backend with what other settings say of it.

    Celery reads `redis_username`, `redis_password` and `redis_backend_use_ssl` beside the URL;
    where both say something, the URL counts, as it does with Celery.

    Args:
        conf: Celery's configuration.

    Raises:
        ValueError: a setting that no URL can say, in words that follow on "it".
    """
    if conf.get("redis_backend_credential_provider"):
        raise ValueError("has a redis_backend_credential_provider, which no URL can say")
    url = str(conf.result_backend or "")
    parts = urlsplit(url)
    login, _, hosts = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    user = user or quote(str(conf.get("redis_username") or ""), safe="")
    password = password or quote(str(conf.get("redis_password") or ""), safe="")
    if password:
        user = f"{user}:{password}"
    if user:
        parts = parts._replace(netloc=f"{user}@{hosts}")
    if options := conf.get("redis_backend_use_ssl"):
        scheme = parts.scheme
        parts = parts._replace(
            scheme=scheme if scheme.startswith("rediss") else scheme.replace("redis", "rediss", 1),
            query=urlencode({**_ssl_parameters(options), **parameters(url)}),
        )
    return redis_url(urlunsplit(parts))


def warn_when_unverified(names: Sequence[str]) -> None:
    """Log, once logs are set up, that certificates are not checked.

    Args:
        names: of the variables that say so; with none nothing is logged.
    """
    if names:
        after_setup_logger.connect(
            lambda **_: _logger.warning("certificates not checked: %s", ", ".join(names)),
            weak=False,
            dispatch_uid="unverified",
        )


def _ssl_parameters(options: Any) -> dict[str, str]:
    """Return the parameters of a URL that say what `redis_backend_use_ssl` does."""
    if not isinstance(options, Mapping):
        raise ValueError("has a redis_backend_use_ssl that is no mapping")  # noqa: TRY004
    found = {}
    for name, value in options.items():
        if value is None:
            continue
        if name == "ssl_cert_reqs":
            word = value.name if isinstance(value, ssl.VerifyMode) else str(value)
            found[name] = word.lower().removeprefix("cert_")
        elif name.startswith("ssl_") and isinstance(value, str | bool | int):
            found[name] = str(value)
        else:
            raise ValueError(f"has {name!r} in redis_backend_use_ssl, which no URL can say")
    return found


def _ssl_options(urls: Sequence[str], given: dict[str, str]) -> dict[str, Any]:
    """Return the arguments of py-amqp's `SSLTransport._wrap_socket_sni`."""
    files = {"ca_certs": "cafile", "certfile": "certfile", "keyfile": "keyfile"}
    options: dict[str, Any] = {
        argument: given[parameter] for argument, parameter in files.items() if parameter in given
    }
    if given.get("no_verify_ssl", "0") != "0":
        return {**options, "cert_reqs": ssl.CERT_NONE}
    # The name that is checked. kombu itself connects to 127.0.0.1 in place of localhost; None has
    # `messages.connection` take that of the host at hand.
    host = (urlsplit(urls[0]).hostname or "localhost") if len(urls) == 1 else None
    return {**options, "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": host}
