"""Celery, extended: what a Celery app installs to keep every promise of this gateway.

beat                schedules in Redis, and who runs them
consuming           deliveries: the consumer, the request, remote control, announcements
deaths              tasks whose process dies under them
running             one execution: the base class of tasks, coroutines, the context
results             the result backend: states, canvases, callbacks of Celery's own
ending              how an execution ended, and what is written of it
messages            bytes of task messages, published and read
errors  stopping  tenancy
"""
