"""A pool of Celery that runs coroutines: thousands at once in one process, on one event loop.

    consumer's thread (Celery's)                         event loop's thread
    message ─► Request ─► TaskPool.on_apply ── inbox ──► ask Redis whether it may start
                                                              │
                                                         the coroutine
                                                              │ returned, and nothing follows:
                                                         record the end in Redis
    acknowledge, events ◄── outbox ◄──────────────────────────┘
                              ▲                               │ anything else
                              └── Celery's tracer ◄───────────┘ (a helper's thread)

Functions, and what is odd, run on threads beside, as on Celery's pool of threads.

Celery takes it by `--pool=custom`, with `penstock.worker.asyncio_pool.pool:TaskPool` as
CELERY_CUSTOM_WORKER_POOL in the environment, or by the setting `worker_pool`.
"""
