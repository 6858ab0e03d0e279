"""Task states in FastAPI as tutorials have them: `AsyncResult` in a `def`; clients poll."""

from celery.result import AsyncResult
from fastapi import FastAPI

from bench.apps.celery_app import app as celery

app = FastAPI()


@app.get("/tasks/{task_id}")
def status(task_id: str) -> dict[str, object]:
    result = AsyncResult(task_id, app=celery)
    return {"id": task_id, "state": result.state, "result": result.result}
