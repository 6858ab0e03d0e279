"""The routes of the query server, in one list: `server.py` adds them behind its secret."""

from aiohttp import web

from history.queries import failures, operations, status, tasks
from history.queries.asked import sound
from penstock.wire import history_queries as wire

ROUTES: tuple[web.RouteDef, ...] = (
    web.post(wire.TASKS, sound(tasks.page)),
    web.post(wire.TASK, sound(tasks.one)),
    web.post(wire.FAILURES, sound(failures.failures)),
    web.post(wire.STATUS, sound(status.status)),
    web.post(wire.COUNT, sound(operations.count)),
    web.post(wire.BEGIN, sound(operations.begin)),
    web.post(wire.TAKE, sound(operations.take)),
    web.post(wire.ASSIGN, sound(operations.assign)),
    web.post(wire.SETTLE, sound(operations.settle)),
)
"""Each handler finds the database with `request.app[DATABASE]` (`history.keys`)."""
