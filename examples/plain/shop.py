"""A Celery application in one module, as it may have stood for years: no gateway is known here."""

import os

from celery import Celery

app = Celery("shop", broker=os.environ["AMQP_URL"], backend=os.environ["REDIS_URL"])
app.conf.task_default_queue = "shop"


@app.task
def price(amount: int, discount: float = 0.0) -> float:
    """Price an order."""
    return amount * (1 - discount)


@app.task(bind=True, autoretry_for=(ConnectionError,), retry_backoff=True)
def ship(self, order: int, address: dict | None = None) -> str:
    """Ship an order."""
    return f"order {order} left after {self.request.retries} retries"
