"""From the JSON of one task to its published message.

    task_request    JSON → TaskRequest: its form checked, its arguments raw
    planning        TaskRequest, caller → TaskPlan: allowed, placed, timed, with room and a worker
    submission      TaskPlan, arguments, id → TaskMessage → published, confirmed
    celery_options  one mapping of a submit's options to Celery's, and back

A broadcast, a signature of a canvas, a schedule and the run of one take the same way with other
`Terms`. What a plan asks: `destinations` (where), `start_times` (when), `absent_tasks` and
`catalog` (what workers announced), `gateway.access.room`.
"""
