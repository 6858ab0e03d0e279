"""Celery, extended: what a Celery app installs to keep every promise of this gateway.

It knows no task, no layout and no configuration of a deployment: an application hands over a
`Layout`, its resources and a salvage of bodies (`app.py`), and Celery's settings do the rest.

app                 `Penstock` in place of `Celery`
policy  layout      settings with their reasons; what is asked of the layout of RabbitMQ
consuming           deliveries: the consumer, the request, remote control, announcements
beat                schedules in Redis, and who runs them
deaths              tasks whose process dies under them
running             one execution: the base class of tasks, coroutines, the context
results             the result backend: states, canvases, callbacks of Celery's own
ending              how an execution ended, and what is written of it
messages            bytes of task messages, published and read
checkup             whether an application is ready: `penstock check`
errors  stopping  tenancy
"""
