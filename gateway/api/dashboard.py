"""The page at `/`: submits demo tasks and watches them, from this gateway alone."""

import gzip
import hashlib
from pathlib import Path
from typing import Final

from aiohttp import web
from aiohttp.typedefs import Handler

from gateway.api.operation import Content, Operation, answer

_FOLDER: Final = Path(__file__).parent / "static"
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cache-Control": "no-cache",
    "Vary": "Accept-Encoding",
}
_FILES: Final = (
    ("/", "index.html", "text/html"),
    ("/static/page.js", "page.js", "text/javascript"),
    ("/static/style.css", "style.css", "text/css"),
)

DASHBOARD: Final = Operation(
    summary="The dashboard.",
    tag="Operations",
    scope=None,
    answers={
        200: answer("HTML.", Content(str, media="text/html")),
        304: answer("It has not changed."),
    },
)
"""Of the page, and of what it loads."""


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun; reads the files, once.

    Raises:
        OSError: A file of the package is missing.
    """
    return [
        web.get(path, _file(_FOLDER / name, kind), operation=DASHBOARD)
        for path, name, kind in _FILES
    ]


def _file(path: Path, kind: str) -> Handler:
    body = path.read_bytes()
    packed = gzip.compress(body, mtime=0)
    headers = {
        **_HEADERS,
        "Content-Type": f"{kind}; charset=utf-8",
        "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
    }

    async def serve(request: web.Request) -> web.Response:
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        if "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=body, headers=headers)

    return serve
