"""FastAPI + Celery as tutorials have it: `.delay()` in a `def`, which FastAPI runs on a thread."""

from fastapi import FastAPI
from pydantic import BaseModel

from bench.apps.celery_app import add

app = FastAPI()


class Add(BaseModel):
    x: int
    y: int


@app.post("/add", status_code=202)
def submit(body: Add) -> dict[str, str]:
    return {"id": add.delay(body.x, body.y).id}
