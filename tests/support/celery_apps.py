"""A Celery app that knows nothing of this project, `tests.apps.stock_app`, behind a gateway."""

from typing import Any

from tests.deployment.gateway import Gateway

DEPLOYMENT = {"app": "tests.apps.stock_app"}
WORKER = ("threads", "-Q", "celery,feeds,all")
"""How its worker is started."""
LAYOUT = """
extends = "default"

[exchanges.celery]
type = "direct"
owner = "app"

[exchanges.feed]
type = "topic"
owner = "app"
publishable = true

[exchanges.all]
type = "fanout"
owner = "app"

[queues.celery]
owner = "app"
bindings = [{ exchange = "celery", key = "celery" }]

[queues.feeds]
owner = "app"
max_priority = 10
bindings = [{ exchange = "feed", key = "feed.#" }]

[[routes]]
task = "proj.*"
exchange = ""
routing_key = "celery"

[[routes]]
task = "proj.everywhere"
exchange = "all"
routing_key = ""

[[routes]]
task = "proj.shown"
exchange = "feed"
routing_key = "feed.a"

[[routes]]
task = "proj.secret"
exchange = "feed"
routing_key = "feed.secret"
show_arguments = false

[[routes]]
task = "proj.ranked"
exchange = "feed"
routing_key = "feed.ranked"
priority = 7
expires = 600
"""


async def submit(gateway: Gateway, task: str, *args: Any, wait: int = 20, **options: Any) -> Any:
    body = {"task": f"proj.{task}", "args": list(args), "options": options}
    async with gateway.post(f"/v1/tasks?wait={wait}", json=body) as answer:
        told = await answer.json()
        assert answer.status in {200, 202}, told
        return told


async def revoke(gateway: Gateway, task_id: str, query: str = "") -> Any:
    async with gateway.delete(f"/v1/tasks/{task_id}{query}") as answer:
        told = await answer.json()
        assert answer.status == 202, told
        return told


async def state_of(gateway: Gateway, task_id: str, query: str = "") -> Any:
    async with gateway.get(f"/v1/tasks/{task_id}{query}") as answer:
        return await answer.json()
