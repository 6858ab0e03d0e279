"""One line for each batch of documents, both of Celery's for other tasks."""

import logging

import pytest
from celery.app.trace import LOG_RECEIVED
from celery.worker.strategy import logger

from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load


@pytest.mark.parametrize(
    ("level", "written"),
    [
        (logging.INFO, ["Task demo.add[1] received"]),
        (logging.DEBUG, ["Task demo.add[1] received", "Task documents.store[2] received"]),
    ],
)
def test_the_receipt_of_a_batch_is_for_debugging(level: int, written: list[str], caplog):
    with build_app(WorkerConfig(), load()), caplog.at_level(level, logger.name):
        for name, task_id in (("demo.add", "1"), ("documents.store", "2")):
            context = {"id": task_id, "name": name, "args": "", "kwargs": "", "eta": None}
            logger.info(LOG_RECEIVED, context, extra={"data": context})

    assert [record.getMessage() for record in caplog.records] == written
