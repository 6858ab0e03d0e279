"""Who is compared: how each is started and asked, and what each leaves out."""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from bench.peers import CELERY_FASTAPI, PEERS, PRODUCT
from devstack.product import FLOWER_PACKAGES

API_KEY = "bench-key-0123456789abcdef"
_GATEWAY_BODY = json.dumps({"task": "demo.add", "args": [2, 3]})
_PEER_BODY = json.dumps({"x": 2, "y": 3})
_FLOWER_LOGIN = "bench:bench"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contestant:
    """One HTTP server that takes submits."""

    name: str
    """In result files."""
    title: str
    """In tables."""
    kind: Literal["aiohttp", "uvicorn", "gateway", "flower"]
    """How it is started; see `processes.py`."""
    target: str
    """The module that is run, or the ASGI application."""
    venv: str = PRODUCT
    path: str = "/add"
    """What is POSTed to."""
    body: str = _PEER_BODY
    headers: Mapping[str, str] = field(default_factory=dict)
    lacks: tuple[str, ...] = ()
    """What its answer does not promise and the gateway's does."""
    env: Mapping[str, str] = field(default_factory=dict)
    publishes: bool = True
    """Whether each answer stands for a message in the queue."""


BARE = Contestant(
    name="bare",
    title="bare aiohttp handler",
    kind="aiohttp",
    target="bench.apps.bare",
    path="/v1/tasks",
    body=_GATEWAY_BODY,
    lacks=("publishes nothing",),
    publishes=False,
)
GATEWAY = Contestant(
    name="gateway",
    title="Penstock gateway",
    kind="gateway",
    target="gateway",
    path="/v1/tasks",
    body=_GATEWAY_BODY,
    headers={"Authorization": f"Bearer {API_KEY}"},
)
EXCHANGE_PUBLISH = Contestant(
    name="exchange-publish",
    title="bare handler + aio-pika Exchange.publish",
    kind="aiohttp",
    target="bench.apps.exchange_publish",
    path="/v1/tasks",
    body=_GATEWAY_BODY,
    lacks=("keys", "argument check", "back-pressure"),
)
_CELERY_LACKS = ("mandatory", "keys", "back-pressure", "truthful PENDING")
DELAY = Contestant(
    name="fastapi-delay",
    title="FastAPI + Celery .delay() in def, confirmed",
    kind="uvicorn",
    target="bench.apps.fastapi_delay:app",
    venv=PEERS,
    lacks=_CELERY_LACKS,
)
DELAY_ASYNC = Contestant(
    name="fastapi-delay-async",
    title="FastAPI + Celery .delay() in async def, unconfirmed",
    kind="uvicorn",
    target="bench.apps.fastapi_delay_async:app",
    venv=PEERS,
    env={"CONFIRM": "0"},
    lacks=("confirm", *_CELERY_LACKS, "blocks its event loop"),
)
TASKIQ = Contestant(
    name="fastapi-taskiq",
    title="FastAPI + taskiq-aio-pika .kiq()",
    kind="uvicorn",
    target="bench.apps.fastapi_taskiq:app",
    venv=PEERS,
    lacks=("Celery workers", "refusal of unroutable", "keys", "back-pressure"),
)
AIO_CELERY = Contestant(
    name="fastapi-aio-celery",
    title="FastAPI + aio-celery .delay()",
    kind="uvicorn",
    target="bench.apps.fastapi_aio_celery:app",
    venv=PEERS,
    lacks=("refusal of unroutable", "exchanges", "keys", "back-pressure"),
)
CELERY_FASTAPI_PEER = Contestant(
    name="celery-fastapi",
    title="celery-fastapi",
    kind="uvicorn",
    target="bench.apps.celery_fastapi_app:app",
    venv=CELERY_FASTAPI,
    path="/demo/add",
    lacks=(*_CELERY_LACKS, "blocks its event loop"),
)
FLOWER = Contestant(
    name="flower",
    title="Flower POST /api/task/async-apply",
    kind="flower",
    target="bench.apps.celery_app",
    path="/api/task/async-apply/demo.add",
    body=json.dumps({"args": [2, 3]}),
    headers={"Authorization": "Basic " + base64.b64encode(_FLOWER_LOGIN.encode()).decode()},
    env={"FLOWER_BASIC_AUTH": _FLOWER_LOGIN, "PYTHONPATH": str(FLOWER_PACKAGES)},
    lacks=("mandatory", "argument check", "back-pressure", "truthful PENDING"),
)

QUICK = (BARE, GATEWAY, EXCHANGE_PUBLISH, DELAY)
"""`make bench-quick`."""
FULL = (*QUICK, DELAY_ASYNC, TASKIQ, AIO_CELERY, CELERY_FASTAPI_PEER, FLOWER)
"""`make bench`."""
