"""What a process that executes no tasks does while Redis is away."""

from collections.abc import Iterator

import pytest
from celery import Celery
from redis.exceptions import ConnectionError as RedisConnectionError

import penstock

NOBODY = "redis://127.0.0.1:1/0"


@pytest.fixture(params=["installed", "Penstock"])
def client(request: pytest.FixtureRequest) -> Iterator[Celery]:
    """An application in a web server."""
    if request.param == "installed":
        with Celery("client", backend=NOBODY, set_as_current=False) as app:
            yield penstock.install(app)
    else:
        with penstock.Penstock("client", backend=NOBODY, set_as_current=False) as app:
            yield app


@pytest.mark.timeout(10)
def test_a_client_is_told_at_once_that_redis_is_away(client: Celery):
    result = client.AsyncResult("some-id")
    with pytest.raises(RedisConnectionError):
        _ = result.state
    with pytest.raises(RedisConnectionError):
        result.forget()


def test_a_worker_waits_for_it_and_so_does_a_client_that_says_so(client: Celery):
    backend = client.backend
    assert not backend.always_retry

    client.be_a_worker()
    assert backend.always_retry

    client.conf.result_backend_always_retry = False
    assert not backend.always_retry


def test_a_client_that_says_so_waits(client: Celery):
    client.conf.result_backend_always_retry = True
    assert client.backend.always_retry
