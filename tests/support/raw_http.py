"""HTTP as bytes: for requests that no client library would send."""

import asyncio
import io
import json
from dataclasses import dataclass
from http.client import HTTPMessage, HTTPResponse
from typing import Any

ANSWER_TIMEOUT_S = 15.0


@dataclass(frozen=True)
class Answer:
    """One answer, its chunks joined."""

    version: int
    """10 or 11."""
    status: int
    headers: HTTPMessage
    body: bytes

    @property
    def content_type(self) -> str:
        """Without parameters; empty when there is none."""
        return (self.headers.get("Content-Type") or "").partition(";")[0]

    def json(self) -> Any:
        """The body; NDJSON as a list."""
        if self.content_type.endswith("ndjson"):
            return [json.loads(line) for line in self.body.splitlines()]
        return json.loads(self.body)


class _Received:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, *_: Any) -> io.BytesIO:
        return io.BytesIO(self._data)


async def exchange(port: int, request: bytes) -> Answer:
    """Send the bytes of a request that says `Connection: close`; read its answer to the end."""
    async with asyncio.timeout(ANSWER_TIMEOUT_S):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        try:
            writer.write(request)
            received = b""
            try:
                async for chunk in reader:
                    received += chunk
            except ConnectionResetError:
                pass  # refused before all of the request was read
        finally:
            writer.close()
    answer = HTTPResponse(_Received(received))  # type: ignore[arg-type]
    answer.begin()
    with answer:
        return Answer(answer.version, answer.status, answer.headers, answer.read())
