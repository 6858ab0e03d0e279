"""FastAPI + Celery as tutorials have it: `.delay()` to submit, `AsyncResult` to poll."""

from bench.apps.fastapi_delay import app
from bench.apps.fastapi_polling import status

app.get("/tasks/{task_id}")(status)
