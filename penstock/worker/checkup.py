"""Whether an application is ready for a gateway: `penstock check`."""

import inspect
from collections.abc import Iterator
from dataclasses import dataclass
from operator import itemgetter
from typing import Any
from urllib.parse import urlsplit

from celery import VERSION as CELERY_VERSION
from celery.app.utils import find_app
from celery.exceptions import ImproperlyConfigured
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from penstock.worker.layout import LayoutError
from penstock.worker.redis_client import sync_client
from penstock.worker.running.task import PenstockTask
from penstock.worker.tracked import Tracked

ANSWER_S = 5.0
"""How long a server may take to answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One line of the answer."""

    what: str
    text: str
    fine: bool = True


def check(name: str) -> list[Finding]:
    """Look at an application and at its servers; change nothing.

    Args:
        name: as `celery -A` takes it.
    """
    try:
        app: Any = find_app(name)
    except Exception as error:  # noqa: BLE001  # whatever its module raises
        return [Finding(what="application", text=f"{name}: {error!r}", fine=False)]
    version = ".".join(map(str, CELERY_VERSION[:3]))
    if not isinstance(app, Tracked):
        kind = f"{type(app).__module__}.{type(app).__qualname__}"
        text = (
            f"{name} is a {kind}: say penstock.install({name.rpartition(':')[2]}), or make it a "
            "penstock.Penstock, which takes the same arguments"
        )
        return [Finding(what="application", text=text, fine=False)]
    app.loader.import_default_modules()
    app.finalize()
    app.be_a_worker()  # its settings are looked at as a worker has them
    return [
        Finding(what="application", text=f"{name}, Celery {version}"),
        *_tasks(app),
        *(Finding(what="setting", text=text, fine=False) for text in app.given_up()),
        _redis(app),
        _broker(app),
    ]


def _tasks(app: Tracked) -> Iterator[Finding]:
    tasks = [
        (str(task.name), task.authored)
        for task in app.tasks.values()
        if isinstance(task, PenstockTask) and task.authored is not None
    ]
    for name, authored in sorted(tasks, key=itemgetter(0)):
        kind = "coroutine" if authored.is_coroutine else "function"
        shown = authored.signature().replace(return_annotation=inspect.Signature.empty)
        yield Finding(what="task", text=f"{name}{shown} is a {kind}")
    if not tasks:
        yield Finding(what="task", text="there is none", fine=False)


def _redis(app: Tracked) -> Finding:
    try:
        url = app.redis_url
        sync_client(url).ping()
    except (ImproperlyConfigured, RedisError) as error:
        return Finding(what="redis", text=str(error), fine=False)
    return Finding(what="redis", text=f"{_shown(url)} answers")


def _broker(app: Tracked) -> Finding:
    queues = sorted(app.amqp.queues.consume_from)
    try:
        with app.connection_for_write(connect_timeout=ANSWER_S) as connection:
            connection.ensure_connection(max_retries=1, interval_start=0)
            where = connection.as_uri()
            app.layout.examine(connection, queues)
    except (LayoutError, OperationalError, OSError) as error:
        return Finding(what="broker", text=str(error), fine=False)
    return Finding(what="broker", text=f"{where} answers and has {', '.join(queues)}")


def _shown(url: str) -> str:
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2], query="").geturl()
