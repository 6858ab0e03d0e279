"""The address of a cluster: one URL that names every server.

    amqp://user:password@a.example:5672,b.example:5672,c.example:5672/vhost?heartbeat=10

Credentials, virtual host and parameters are those of all of them. Every process tries the hosts in
an order of its own, so that connections spread over the cluster, and the next one when the one that
it has is lost.
"""

import random
import re
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit

_UNCODED = (
    "has a character in its user, password or path that must be percent-encoded: "
    "@ is %40, : %3A, / %2F, ? %3F, # %23, [ %5B, ] %5D"
)


def each_host(url: str) -> tuple[str, ...]:
    """Return a URL for each host that a URL names, in its order."""
    parts = urlsplit(url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    return tuple(
        parts._replace(netloc=f"{credentials}{at}{host.strip()}").geturl()
        for host in hosts.split(",")
    )


def shuffled(url: str) -> list[str]:
    """Return a URL for each host, in the order in which this process tries them."""
    urls = list(each_host(url))
    random.shuffle(urls)
    return urls


def rotated(urls: Sequence[str]) -> list[str]:
    """Return the same URLs with the first one last: it has failed."""
    return [*urls[1:], *urls[:1]]


def vhost_of(url: str) -> str:
    """Return the virtual host of RabbitMQ that a URL names."""
    return unquote(urlsplit(url).path[1:]) or "/"


def printable(url: str) -> str:
    """Return what of a URL may be printed: its hosts and ports."""
    return urlsplit(url).netloc.rpartition("@")[2]


def misread(url: str) -> str:
    """Return why a URL cannot mean what was meant, in words that follow on its name; else nothing.

    A password that is not percent-encoded ends the login too early: what is then read as host, port
    or path is a piece of it, which neither errors nor a name server may be given.

    Args:
        url: of servers; white space behind the commas between them is none.
    """
    scheme, _, rest = url.partition("://")
    place, _, query = rest.partition("?")
    if "://" in place or (";" in place and scheme.startswith("amqp")):
        form = f"{scheme}://user:password@first,second/"
        return f"is one URL, whose hosts have commas between them: {form}"
    if re.search(r"\s", re.sub(r",\s+", ",", url)):
        return "has white space in it"
    behind = re.sub("^[^/#]*", "", place)
    if place.count("@") > 1 or "@" in behind or "@" in query.partition("=")[0]:
        return _UNCODED
    try:
        _ = urlsplit(url)
    except ValueError:  # brackets
        return _UNCODED
    return ""


def bad_port(url: str) -> str:
    """Return which host of a URL has no port behind its colon, in words that follow on its name.

    Args:
        url: of servers, which `misread` has passed.
    """
    names = printable(url).split(",")
    for one, host in zip(each_host(url), names, strict=True):
        try:
            _ = urlsplit(one).port
        except ValueError:
            # Without a login the host may be one, whose @ was forgotten.
            shown = repr(host.strip()) if "@" in url else "a host"
            return f"has no port from 0 to 65535 behind the colon of {shown}"
    return ""


def faults(name: str, url: str) -> list[str]:
    """Return what is wrong with the hosts of a URL; nothing of its credentials.

    Args:
        name: of the variable, for the messages.
        url: of servers.
    """
    if wrong := misread(url) or bad_port(url):
        return [f"{name} {wrong}"]
    hosts = printable(url)
    found = []
    names = [host.strip() for host in hosts.split(",")]
    if len(names) > 1 and not all(names):
        found.append(f"{name}: a host is missing beside a comma in {hosts!r}")
    if len(set(names)) < len(names):
        found.append(f"{name}: a host is there twice in {hosts!r}")
    return found
