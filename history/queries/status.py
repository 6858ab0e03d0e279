"""How far history is behind, for `history-behind` among the problems."""

from aiohttp import web

from history.keys import DATABASE, LAG
from history.queries.asked import answered


async def status(request: web.Request) -> web.Response:
    """Return the lag of the writer; 503 while MongoDB is away."""
    await request.app[DATABASE].ping()
    lag = request.app.get(LAG)
    return answered({"lag_s": None if lag is None else lag()})
