"""What the aiohttp application of the query server carries, for its handlers."""

from collections.abc import Callable

from aiohttp import web

from history.config import HistoryConfig
from history.database import Database
from history.metrics import Metrics

CONFIG = web.AppKey("config", HistoryConfig)
LAG: web.AppKey[Callable[[], float | None]] = web.AppKey("lag")
"""Returns how many seconds the writer is behind; None: not known."""
METRICS = web.AppKey("metrics", Metrics)
DATABASE = web.AppKey("database", Database)
