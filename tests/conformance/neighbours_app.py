"""A Django application with Sentry; nothing of it knows on which pool it runs."""
# mypy: disable-error-code="untyped-decorator"

import asyncio
import importlib
import json
import os
from pathlib import Path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.conformance.neighbours_settings")

import sentry_sdk
from asgiref.sync import sync_to_async
from celery import Celery, signals
from django.db import connection
from sentry_sdk.integrations.celery import CeleryIntegration
from sentry_sdk.transport import Transport

app = Celery("beside", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="beside",
    broker_connection_retry_on_startup=True,
)
if os.environ.get("INSTALL"):
    importlib.import_module("penstock").install(app)


def note(what):
    """Note something for the test."""
    with Path(os.environ["RUNS_FILE"]).open("a", encoding="utf-8") as runs:
        runs.write(f"{what}\n")


class ToFile(Transport):  # type: ignore[misc]  # Sentry is not here
    """Notes what Sentry would get."""

    def capture_envelope(self, envelope):
        """Note it."""
        for item in envelope.items:
            note(json.dumps(item.payload.json))


@signals.celeryd_init.connect
def begin_sentry(**_):
    """Begin as Sentry's documentation has it."""
    sentry_sdk.init(
        "http://key@127.0.0.1:9/1",
        transport=ToFile,
        traces_sample_rate=1.0,
        default_integrations=False,
        integrations=[CeleryIntegration()],
        send_default_pii=True,
    )


def ask():
    """Ask the database."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
        return cursor.fetchone()[0]


def lose():
    """Have a connection that is dead, as after a restart of the server."""
    connection.ensure_connection()
    connection.connection.close()


def open_cursor():
    """Begin an iteration."""
    cursor = connection.cursor()
    cursor.execute(
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION SELECT i+1 FROM n LIMIT 9) SELECT i FROM n"
    )
    return cursor


@app.task
async def asks():
    """Ask the database, in a coroutine."""
    return await sync_to_async(ask)()


@app.task
async def loses():
    """Lose the connection, in a coroutine."""
    await sync_to_async(lose)()


@app.task
async def iterates(seconds):
    """Read rows one by one, while others come and go."""
    cursor = await sync_to_async(open_cursor)()
    note("iterates")
    rows = [await sync_to_async(cursor.fetchone)()]
    await asyncio.sleep(seconds)
    rows += await sync_to_async(cursor.fetchall)()
    return len(rows)


def show(name):
    """Show Sentry something."""
    sentry_sdk.set_tag("name", name)
    sentry_sdk.add_breadcrumb(category="mine", message=name)


def end(task, name):
    """End in the way that the name says."""
    if name == "fails":
        raise ValueError(name)
    if name == "is expected":
        raise KeyError(name)
    if name == "retries" and not task.request.retries:
        raise task.retry(countdown=0.5)
    return name


@app.task(bind=True, throws=(KeyError,))
def function(self, name):
    """Be watched by Sentry."""
    show(name)
    with sentry_sdk.start_span(op="db", name=name):
        return end(self, name)


@app.task(bind=True, throws=(KeyError,))
async def coroutine(self, name):
    """Be watched by Sentry, too."""
    show(name)
    with sentry_sdk.start_span(op="db", name=name):
        await asyncio.sleep(0.05)
        return end(self, name)


@app.task(autoretry_for=(ValueError,), max_retries=1, default_retry_delay=0.5)
async def tried_again(name):
    """Fail for good at the second try."""
    show(name)
    raise ValueError(name)
