"""The body of every refusal, as `gateway.errors.Problem` writes it: its schema."""

from typing import Annotated, Literal

import msgspec

from gateway.errors import REFUSALS, Queued


class Fault(msgspec.Struct):
    """One fault in the content of a request."""

    at: str
    """Where, as a path from the root of the body (`$.kwargs.x`), or a query parameter (`?wait`)."""
    detail: str


class Problem(msgspec.Struct, kw_only=True, omit_defaults=True):
    """RFC 9457 problem+json."""

    type: str
    title: str
    status: int
    detail: str
    code: Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(REFUSALS)})]
    queued: Queued | None = None
    """Whether a message of a submit or ingest may be in a queue."""
    id: str | None = None
    """Of the task, only where `queued` is not `no`."""
    errors: list[Fault] | None = None
    near: list[str] | None = None
    """Known tasks whose names are near an unknown one."""
    quota: str | None = None
    """The quota of the tenant that is used up."""
    revoked: Literal["yes", "unknown"] | None = None
    """Of a DELETE that was refused: whether the task was revoked all the same. It runs (yes), or a
    repeated DELETE says what became of it (unknown)."""
