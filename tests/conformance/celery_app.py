"""An application of stock Celery whose messages and workers ours are held against.

Every version of Celery runs it: it needs nothing else.
"""

import importlib
import os
import time

from celery import Celery

app = Celery("golden", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.update(
    task_default_queue="golden",
    broker_connection_retry_on_startup=True,
    broker_transport_options={"confirm_publish": True},  # what was published is in its queue
    result_extended=True,
)
if os.environ.get("INSTALL"):
    importlib.import_module("penstock").install(app)


@app.task(name="golden.add")
def add(*numbers):
    """Add numbers."""
    return sum(numbers)


@app.task(name="golden.total")
def total(numbers, *more):
    """Add what a group gave."""
    return sum(numbers) + sum(more)


@app.task(name="golden.echo")
def echo(*args, **kwargs):
    """Return the arguments."""
    return [list(args), kwargs]


@app.task(name="golden.fail")
def fail(*_):
    """Fail."""
    raise ValueError("golden")


@app.task(name="golden.headers", bind=True)
def headers(self):
    """Return a header of the client's own."""
    return (self.request.headers or {}).get("tenant")


@app.task(name="golden.again", bind=True, max_retries=3)
def again(self, times):
    """Retry some times."""
    if self.request.retries < times:
        raise self.retry(countdown=0.2)
    return self.request.retries


@app.task(name="golden.slow")
def slow(seconds):
    """Take some time."""
    time.sleep(seconds)
    return seconds


def stamped(request, args):
    """Return the arguments, and what the message was stamped with."""
    names = sorted(request.stamped_headers or ())
    return [list(args), {name: (request.stamps or {}).get(name) for name in names}]


@app.task(name="golden.stamps", bind=True)
def stamps(self, *args):
    """Tell the stamps."""
    return stamped(self.request, args)


@app.task(name="golden.stamps_again", bind=True)
def stamps_again(self, times):
    """Tell the stamps after some retries."""
    if self.request.retries < times:
        raise self.retry(countdown=0.1)
    return stamped(self.request, (times,))


@app.task(name="golden.heard")
def heard(*_):
    """Be the link of another."""
    return "heard"
