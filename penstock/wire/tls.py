"""What the URLs of the servers say about TLS: one form for every process.

A URL names the private CA and the client's certificate in the parameters of the library that
knows most of them: aio-pika's for RabbitMQ, redis-py's for Redis, PyMongo's for MongoDB. Whoever
reads a configuration asks here first: a CA file that is not there would otherwise look like a
server that is away, for ever.
"""

import os
import ssl
from collections.abc import Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_CA_FILES = frozenset({"cafile", "ssl_ca_certs", "tlscafile"})
_FILES = _CA_FILES | {
    "certfile",
    "keyfile",
    "ssl_certfile",
    "ssl_keyfile",
    "tlscertificatekeyfile",
}
_TLS_OF = {
    "amqp": "amqps",
    "redis": "rediss",
    "redis+sentinel": "rediss+sentinel",
    "http": "https",
}
_LONGEST_CHAIN = 20  # of errors; one that leads back to itself is possible
_CERT_REQS = ("required", "optional", "none")


def parameters(url: str) -> dict[str, str]:
    """Return the query of a URL; of a parameter that comes twice the last."""
    return dict(parse_qsl(urlsplit(url).query, keep_blank_values=True))


def is_verified(url: str) -> bool:
    """Tell whether the server's certificate is checked, as far as its URL says."""
    given = {name.lower(): value.lower() for name, value in parameters(url).items()}
    return not (
        given.get("no_verify_ssl", "0") != "0"  # aiormq takes every other value for a yes
        or given.get("ssl_cert_reqs", "required") != "required"
        or given.get("ssl_check_hostname", "true") in {"0", "f", "false", "n", "no"}
        or "true" in {given.get("tlsinsecure"), given.get("tlsallowinvalidcertificates")}
        or given.get("tlsallowinvalidhostnames") == "true"
    )


def unverified(urls: Mapping[str, str]) -> tuple[str, ...]:
    """Return the variables whose URL switches the check of the server's certificate off."""
    return tuple(name for name, url in urls.items() if not is_verified(url))


def refusal(error: BaseException) -> str:
    """Return why TLS failed, when that is what an error comes from; else nothing.

    Args:
        error: of a client library; what it was made of is looked through.
    """
    found: BaseException | None = error
    for _ in range(_LONGEST_CHAIN):
        if isinstance(found, ssl.SSLError):
            words = (getattr(found, "reason", None) or "TLS", getattr(found, "verify_message", ""))
            return ": ".join(filter(None, words))
        found = found and (found.__cause__ or found.__context__)
    return ""


def faults(name: str, url: str) -> list[str]:
    """Return what is wrong with the TLS parameters of a URL; nothing of its credentials.

    Args:
        name: of the variable, for the messages.
        url: of a server.
    """
    found: list[str] = []
    scheme, given = urlsplit(url).scheme, parameters(url)
    for parameter, value in given.items():
        word = parameter.lower()
        if word not in _FILES and word not in {"no_verify_ssl", "ssl_cert_reqs"}:
            continue
        if scheme in _TLS_OF:
            found.append(f"{name} has {parameter}, which needs {_TLS_OF[scheme]}://")
        elif word == "ssl_cert_reqs" and value not in _CERT_REQS:
            found.append(f"{name}: ssl_cert_reqs is one of {', '.join(_CERT_REQS)}")
        elif word in _FILES and (fault := _fault_of(value, ca=word in _CA_FILES)):
            found.append(f"{name}: {parameter}={value} {fault}")
    return found


class Files:
    """The certificates that a URL names, and whether others were put in their place.

    Libraries read them once for each client. Whoever keeps a client for long asks here before it
    connects again, so that certificates can be replaced while processes run.

    Args:
        given: parameters of the URL, see `parameters`; without TLS they name no files.
    """

    def __init__(self, given: Mapping[str, Any]) -> None:
        self._of = {
            str(value): name.lower() in _CA_FILES
            for name, value in given.items()
            if value and name.lower() in _FILES
        }
        self._seen = self._stamps()

    def __repr__(self) -> str:
        """Name the files."""
        return f"<Files {', '.join(self._of) or 'none'}>"

    def replaced(self) -> bool:
        """Return whether a file is not the one of the last call, once all of them can be used."""
        if not self._of:
            return False
        stamps = self._stamps()
        if stamps == self._seen or any(_fault_of(path, ca=ca) for path, ca in self._of.items()):
            return False
        self._seen = stamps
        return True

    def _stamps(self) -> tuple[tuple[int, int, int], ...]:
        return tuple(_stamp(path) for path in self._of)


def _stamp(path: str) -> tuple[int, int, int]:
    """Return what differs between a file and the one that is put in its place."""
    try:
        found = os.stat(path)  # noqa: PTH116  # as in `_fault_of`
    except OSError:
        return 0, 0, 0
    return found.st_ino, found.st_mtime_ns, found.st_size


def _fault_of(path: str, *, ca: bool) -> str:
    """Return why a file cannot be used; nothing when it can."""
    try:
        with open(path, "rb"):  # noqa: PTH123  # Path("") would be the folder that we are in
            pass
        if ca:
            ssl.create_default_context(cafile=path)
    except ssl.SSLError:
        return "holds no certificates in PEM form"
    except OSError as error:
        return f"cannot be read: {error.strerror}"
    return ""
