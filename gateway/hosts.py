"""Names that requests are addressed to and come from, and which of them mean loopback. Pure.

A page can make a browser send requests to any address, also to this machine's own, but it can make
up neither header: `Host` is the name in the URL, `Origin` the page's own (Fetch standard, "append a
request Origin header").
"""

import ipaddress
import re
from fnmatch import fnmatchcase
from urllib.parse import urlsplit

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^][:@/?#\\\s\x00-\x1f\x7f]+)(?::([0-9]{0,5}))?")
_DEFAULT_PORTS = {"http": "80", "https": "443", "ws": "80", "wss": "443"}


def split_host(text: str) -> tuple[str, str] | None:
    """Return name and port of a `Host` (RFC 9110, section 7.2); None where it is not one.

    The name is in lower case and without the dot that ends an absolute name; an IPv6 address keeps
    its brackets. The port is empty where there is none.
    """
    found = _HOST.fullmatch(text)
    if found is None:
        return None
    return found[1].lower().removesuffix("."), found[2] or ""


def is_loopback(name: str) -> bool:
    """Return whether a name of `split_host` means this machine alone, whatever DNS says of it.

    RFC 6761, section 6.3, for `localhost` and the names under it. Addresses count only as browsers
    write them: four decimal numbers, or IPv6 in brackets.
    """
    if name == "localhost" or re.fullmatch(r"(?:[^.]+\.)+localhost", name):
        return True
    try:
        if name.startswith("["):
            return ipaddress.IPv6Address(name[1:-1]) == ipaddress.IPv6Address("::1")
        return ipaddress.IPv4Address(name).is_loopback
    except ValueError:
        return False


def matches(name: str, patterns: tuple[str, ...]) -> bool:
    """Return whether a name is among the patterns of `ALLOWED_HOSTS`, which are in lower case."""
    # An IPv6 address looks like a pattern, and means itself.
    return any(name == pattern or fnmatchcase(name, pattern) for pattern in patterns)


def is_own(origin: str, host: str) -> bool:
    """Return whether a page's origin is the address that its request was sent to.

    Only name and port are compared: behind a proxy that ends TLS the scheme differs.

    Args:
        origin: `scheme://name[:port]`, or `null` (a sandboxed page, a file), which is nobody's.
        host: The request's `Host`.
    """
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    page, server = split_host(parts.netloc), split_host(host)
    if (
        page is None
        or server is None
        or origin.lower() != f"{parts.scheme}://{parts.netloc}".lower()
    ):
        return False
    default = _DEFAULT_PORTS.get(parts.scheme, "")
    return (page[0], page[1] or default) == (server[0], server[1] or default)
