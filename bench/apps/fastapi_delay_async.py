"""FastAPI + Celery with `.delay()` in an `async def`: the event loop waits for each publish."""

from fastapi import FastAPI

from bench.apps.celery_app import add
from bench.apps.fastapi_delay import Add

app = FastAPI()


@app.post("/add", status_code=202)
async def submit(body: Add) -> dict[str, str]:
    return {"id": add.delay(body.x, body.y).id}
