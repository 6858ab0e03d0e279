"""A Flask application made by a factory, with Celery as Flask's documentation sets it up."""

import os

import penstock
from celery import Celery, Task, shared_task
from flask import Flask, current_app


def celery_init_app(app: Flask) -> Celery:
    """Make the Celery application; its tasks run in the context of the Flask application."""

    class FlaskTask(Task):
        def __call__(self, *args: object, **kwargs: object) -> object:
            with app.app_context():
                return self.run(*args, **kwargs)

    celery_app = Celery(app.name, task_cls=FlaskTask)
    celery_app.config_from_object(app.config["CELERY"])
    celery_app.set_default()
    penstock.install(celery_app)  # leave it out, and a gateway serves the application as it is
    app.extensions["celery"] = celery_app
    return celery_app


def create_app() -> Flask:
    """Make the Flask application."""
    app = Flask(__name__)
    app.config.from_mapping(
        CURRENCY="EUR",
        CELERY={
            "broker_url": os.environ["AMQP_URL"],
            "result_backend": os.environ["REDIS_URL"],
            "task_default_queue": "shop",
        },
    )
    celery_init_app(app)
    app.post("/orders/<int:amount>")(order)
    return app


def order(amount: int) -> dict[str, str]:
    """Take an order; Celery's own client submits, beside the gateway."""
    return {"id": price.delay(amount).id}


@shared_task
def price(amount: int, discount: float = 0.0) -> str:
    """Price an order."""
    penstock.progress(1, 2, "priced")
    return f"{amount * (1 - discount):.2f} {current_app.config['CURRENCY']}"
