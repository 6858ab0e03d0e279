"""The console at `/`: the files that `devstack.console` built, from this gateway alone."""

import gzip
import hashlib
import html
import mimetypes
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from aiohttp import web

from gateway.api.operation import Content, Operation, answer
from gateway.errors import Problem

BUILT: Final = Path(__file__).resolve().parent.parent.parent / "console" / "dist"
"""Where the build puts them."""
REASON_FILE: Final = "why-not.txt"
"""There in place of them: why they could not be built."""
_POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; font-src 'self'; "
    "img-src data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS: Final = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Vary": "Accept-Encoding",
}
_CHECKED: Final = "no-cache"
_FOR_EVER: Final = "public, max-age=31536000, immutable"
"""Of files whose name has the hash of their content."""
_OWN: Final = re.compile(r"console-[0-9A-Za-z]+\.(js|css)")
"""The script and the style sheet of a release."""
_PACKED: Final = frozenset({".html", ".js", ".css"})
_NOT_BUILT: Final = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>Penstock: no console</title>
<link rel="icon" href="data:,">
</head>
<body>
<h1>The console is not built</h1>
<p>Everything else of this gateway works: <a href="/docs">the API</a>, <a href="/readyz">its
readiness</a>. <code>make console</code> builds the console; start the gateway again after it.</p>
<pre>%s</pre>
</body>
</html>
"""

CONSOLE: Final = Operation(
    summary="The console.",
    tag="Operations",
    scope=None,
    answers={
        200: answer("HTML.", Content(str, media="text/html")),
        304: answer("It has not changed."),
    },
)
FILE: Final = Operation(
    summary="What the console loads.",
    tag="Operations",
    scope=None,
    answers={200: answer("A script, a style sheet, a font."), 304: answer("It has not changed.")},
    refusals=("not-found",),
)


@dataclass(frozen=True, slots=True)
class _File:
    """One file in memory."""

    body: bytes
    packed: bytes | None
    headers: dict[str, str]

    def answer(self, request: web.Request) -> web.Response:
        """Answer with the file, packed for whoever takes that; with 304 to one who has it."""
        headers = self.headers
        if request.headers.get("If-None-Match") == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        if self.packed is not None and "gzip" in request.headers.get("Accept-Encoding", ""):
            return web.Response(body=self.packed, headers={**headers, "Content-Encoding": "gzip"})
        return web.Response(body=self.body, headers=headers)


def routes(folder: Path = BUILT) -> list[web.RouteDef]:
    """Return the routes of this noun; reads the files, once.

    Args:
        folder: What was built; where it is missing, `/` says so.
    """
    page, files = _read(folder)
    ours = {
        _kind(name): replace(one, headers={**one.headers, "Cache-Control": _CHECKED})
        for name, one in files.items()
        if _kind(name)
    }

    async def index(request: web.Request) -> web.Response:
        """The page."""
        return page.answer(request)

    async def file(request: web.Request) -> web.Response:
        """What it loads; a name changes with the content."""
        name = request.match_info["name"]
        found = files.get(name) or ours.get(_kind(name))
        if found is None:
            raise Problem("not-found", "the console has no such file")
        return found.answer(request)

    return [
        web.get("/", index, operation=CONSOLE),
        web.get("/static/{name}", file, operation=FILE),
    ]


def _kind(name: str) -> str:
    """Return which of the console's two own files a name is of, in whatever release; else empty.

    While gateways are replaced one by one, the page of one may load its files from another.
    """
    found = _OWN.fullmatch(name)
    return found[1] if found else ""


def _read(folder: Path) -> tuple[_File, dict[str, _File]]:
    if not (folder / "index.html").is_file():
        reason = folder / REASON_FILE
        why = reason.read_text(encoding="utf-8") if reason.is_file() else "make console was not run"
        return _file("index.html", (_NOT_BUILT % html.escape(why)).encode(), _CHECKED), {}
    files = {
        path.name: _file(path.name, path.read_bytes(), _FOR_EVER)
        for path in folder.iterdir()
        if path.suffix in {".js", ".css", ".woff2"}
    }
    return _file("index.html", (folder / "index.html").read_bytes(), _CHECKED), files


def _file(name: str, body: bytes, caching: str) -> _File:
    suffix = Path(name).suffix
    kind = {".js": "text/javascript", ".woff2": "font/woff2"}.get(suffix)
    kind = kind or mimetypes.guess_type(name)[0] or "application/octet-stream"
    text = suffix in _PACKED
    return _File(
        body,
        gzip.compress(body, mtime=0) if text else None,
        {
            **_HEADERS,
            "Content-Type": f"{kind}; charset=utf-8" if text else kind,
            "Cache-Control": caching,
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:16]}"',
        },
    )
