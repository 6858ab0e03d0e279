"""The address of a cluster: one URL that names every server.

    amqp://user:password@a.example:5672,b.example:5672,c.example:5672/vhost?heartbeat=10

Credentials, virtual host and parameters are those of all of them. Every process tries the hosts in
an order of its own, so that connections spread over the cluster, and the next one when the one that
it has is lost.
"""

import random
from collections.abc import Sequence
from urllib.parse import unquote, urlsplit


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


def faults(name: str, url: str) -> list[str]:
    """Return what is wrong with the hosts of a URL; nothing of its credentials.

    Args:
        name: of the variable, for the messages.
        url: of servers.
    """
    hosts = printable(url)
    if ";" in url or "://" in url.partition("://")[2].partition("?")[0]:
        form = f"{urlsplit(url).scheme}://user:password@first:5672,second:5672/"
        return [f"{name} is one URL, whose hosts have commas between them: {form}"]
    found = []
    names = [host.strip() for host in hosts.split(",")]
    if len(names) > 1 and not all(names):
        found.append(f"{name}: a host is missing beside a comma in {hosts!r}")
    if len(set(names)) < len(names):
        found.append(f"{name}: a host is there twice in {hosts!r}")
    for one, host in zip(each_host(url), names, strict=True):
        try:
            _ = urlsplit(one).port
        except ValueError:
            found.append(f"{name}: {host!r} has no port from 0 to 65535 behind its colon")
    return found
