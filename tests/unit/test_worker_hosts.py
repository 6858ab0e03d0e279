"""Which host a worker tries next."""

import pytest
from celery import Celery
from kombu.connection import Connection

from penstock.worker.messages.connection import leave_host, try_another_host

URLS = ["amqp://a:1/", "amqp://b:2/", "amqp://c:3/"]


def app(url: object) -> Celery:
    made = Celery("proj", set_as_current=False)
    made.conf.broker_url = url
    return made


def test_the_host_that_failed_is_the_last():
    proj = app(URLS)

    try_another_host(proj)

    assert proj.conf.broker_url == [*URLS[1:], URLS[0]]


def test_the_host_that_is_left_is_the_last_wherever_it_stood():
    proj = app(URLS)

    leave_host(proj, Connection(URLS[1]))

    assert proj.conf.broker_url == [URLS[0], URLS[2], URLS[1]]


@pytest.mark.parametrize("url", [None, "amqp://a:1/"])
def test_an_app_with_one_host_keeps_it(url: str | None):
    """None: an application that leaves it to Celery's default."""
    proj = app(url)

    try_another_host(proj)
    leave_host(proj, Connection("amqp://a:1/"))

    assert proj.conf.broker_url == url
