"""Messages that ended in a dead-letter queue: what they are, and another chance for them."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import msgspec
from aiohttp import web

from gateway.access.auth import require
from gateway.access.task_id import IssuedId, claims
from gateway.access.work import work_of
from gateway.api.audited import audited, noted
from gateway.api.fields import Count
from gateway.api.operation import JSON_BODY, Content, Operation, answer
from gateway.api.parts import BROKER, INTAKE, STATES, SUBMITTING
from gateway.api.queries import whole_number
from gateway.api.submit import TASK_ID
from gateway.decoding.choices import Schema, given, missing, one_of
from gateway.decoding.typed_json import decode_with
from gateway.endings.outcomes import DEAD_LETTERED
from gateway.errors import invalid_request
from gateway.http.media_types import check_json
from gateway.rabbitmq.dead_letters import DEFAULT_RATE
from gateway.redis.faults import RedisAwayError
from gateway.states.reading import States
from gateway.timestamps import Time

AtMost = Annotated[int, msgspec.Meta(ge=1)]


class ReplayRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which letters to publish again: either `ids` or `all`."""

    SCHEMA: ClassVar[Schema] = one_of(
        given("ids") | missing("at_most"),
        {"required": ["all"], "properties": {"all": {"const": True}}} | missing("ids"),
    )

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    all: bool = False
    at_most: AtMost | None = None
    """With `all`: so many letters, from the head of the queue; absent: all that are there now. Name
    `ids` to choose: RabbitMQ may put behind the others what was looked at."""
    rate: Annotated[float, msgspec.Meta(gt=0, le=10_000)] = DEFAULT_RATE
    """Letters each second."""


class DiscardRequest(msgspec.Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Which letters to remove: either `ids` or `all`."""

    SCHEMA: ClassVar[Schema] = ReplayRequest.SCHEMA

    ids: Annotated[list[str], msgspec.Meta(min_length=1, max_length=10_000)] | None = None
    all: bool = False
    at_most: AtMost | None = None
    """With `all`: so many letters, from the head of the queue; absent: all that are there now. Name
    `ids` to choose: RabbitMQ may put behind the others what was looked at."""


class LetterError(msgspec.Struct, omit_defaults=True):
    """What its worker wrote down of its failure: in the letter, or else as the end of its task."""

    type: str | None = None
    message: str | None = None
    traceback: str | None = None


class DeadLetter(msgspec.Struct, kw_only=True, omit_defaults=True):
    """A dead letter; null is what was not written down."""

    id: str
    task: str | None
    reason: str
    """RabbitMQ's word, or the worker's."""
    time: Time | None
    error: LetterError | None
    queue: str
    exchange: str
    routing_key: str
    size_bytes: Count
    body: msgspec.Raw | msgspec.UnsetType = msgspec.UNSET
    """The body of its message, as JSON, or as text where it is none; absent above 64 KiB, and where
    the bodies before it make 8 MiB."""
    tenant: Any = None
    retries: Any = None
    replays: Count | None = None
    """How often it was published again."""
    lineage: Any = None


class DeadLetterList(msgspec.Struct):
    """The first letters of a queue."""

    queue: str
    total: Count
    letters: list[DeadLetter]


class NotReplayed(msgspec.Struct):
    """A letter that could not be published."""

    id: str
    detail: str


class Replayed(msgspec.Struct):
    """What was published again, and what remains."""

    queue: str
    replayed: Count
    ids: list[str]
    failed: list[NotReplayed]
    missing: list[str]
    """Ids that are not, or no longer, in the queue."""
    remaining: Count


class Discarded(msgspec.Struct):
    """What was removed, and what remains."""

    queue: str
    discarded: Count
    ids: list[str]
    missing: list[str]
    """Ids that are not, or no longer, in the queue."""
    remaining: Count


LIMIT = whole_number("limit", "Letters at most (100).", default=100, at_most=1000)
LOOK = Operation(
    summary="Look at the dead letters of a queue; they stay.",
    tag="Queues",
    scope="admin",
    query=(LIMIT,),
    answers={
        200: answer(
            "The first letters.",
            Content(
                DeadLetterList,
                {
                    "queue": "default",
                    "total": 1,
                    "letters": [
                        {
                            "id": TASK_ID,
                            "task": "demo.fail",
                            "reason": "rejected",
                            "time": "2026-01-31T12:00:00.000Z",
                            "error": {"type": "ValueError", "message": "no"},
                            "queue": "default",
                            "exchange": "tasks",
                            "routing_key": "default",
                            "size_bytes": 87,
                        }
                    ],
                },
            ),
        )
    },
    refusals=("invalid-request", "unknown-queue", "broker-unavailable"),
)
REPLAY = Operation(
    summary="Publish dead letters again, and remove each once that is confirmed.",
    tag="Queues",
    scope="admin",
    body=(Content(ReplayRequest, {"all": True, "rate": 100}),),
    answers={
        200: answer(
            "Which, and what remains.",
            Content(
                Replayed,
                {
                    "queue": "default",
                    "replayed": 1,
                    "ids": [TASK_ID],
                    "failed": [],
                    "missing": [],
                    "remaining": 0,
                },
            ),
        )
    },
    refusals=(*JSON_BODY, "unknown-queue", "broker-unavailable", "unconfirmed"),
)
DISCARD = Operation(
    summary="Remove dead letters for good; their tasks ended when they died.",
    tag="Queues",
    scope="admin",
    body=(Content(DiscardRequest, {"all": True}),),
    answers={
        200: answer(
            "Which, and what remains.",
            Content(
                Discarded,
                {
                    "queue": "default",
                    "discarded": 1,
                    "ids": [TASK_ID],
                    "missing": [],
                    "remaining": 0,
                },
            ),
        )
    },
    refusals=(*JSON_BODY, "unknown-queue", "broker-unavailable"),
)
_discard = msgspec.json.Decoder(DiscardRequest).decode
_replay = msgspec.json.Decoder(ReplayRequest).decode


def routes() -> list[web.RouteDef]:
    """Return the routes of this noun."""
    return [
        web.get("/v1/dead-letters/{queue}", look, operation=LOOK),
        web.post("/v1/dead-letters/{queue}/replay", replay, operation=REPLAY),
        web.post("/v1/dead-letters/{queue}/discard", discard, operation=DISCARD),
    ]


async def look(request: web.Request) -> web.Response:
    """The first letters of a queue, `?limit=` (1 to 1,000) of them; they stay where they are."""
    require(request, "admin")
    limit = LIMIT.of(request)
    dead_letters = request.app[BROKER].dead_letters
    queue = dead_letters.work_queue(request.match_info["queue"])
    total, letters = await dead_letters.look(queue, limit)
    listed: list[DeadLetter] = []
    for one in letters:
        body = msgspec.UNSET if one.shown is None else msgspec.Raw(one.shown)
        listed.append(DeadLetter(**one.to_json(), body=body))
        await request.app[INTAKE].turns.pause(request)
    unexplained = {one.id: claims(one.id) for one in listed if one.error is None}
    errors = await _errors(request.app[STATES], unexplained)
    for letter in listed:
        if letter.error is None:
            letter.error = errors.get(letter.id)
    return _json(DeadLetterList(queue, total, listed))


def _by_the_broker(error: Mapping[str, str]) -> bool:
    """Whether this end says no more than the letter's `reason`."""
    return error.get("type") == DEAD_LETTERED


async def _errors(states: States, ids: Mapping[str, IssuedId | None]) -> dict[str, LetterError]:
    """How these tasks failed: a worker that rejects a message cannot add to it why it did.

    Without Redis nothing is known of it, and the letters are listed all the same.
    """
    try:
        found = await states.read_first(ids)
    except RedisAwayError:
        return {}
    return {
        task_id: LetterError(**state.error, traceback=state.traceback)
        for task_id, state in found.items()
        if state.state == "FAILURE" and state.error is not None and not _by_the_broker(state.error)
    }


@audited("dead-letters.replay")
async def replay(request: web.Request) -> web.Response:
    """Publish letters again to the queue they died in; 200 tells which, and what remains."""
    asked: ReplayRequest = await _asked(request, _replay)
    dead_letters = request.app[BROKER].dead_letters
    queue = dead_letters.work_queue(request.match_info["queue"])
    done = await dead_letters.replay(queue, asked.ids, asked.rate, asked.at_most)
    work_of(request).charge(len(done.replayed) + len(done.failed))
    noted(request, queue, len(done.replayed))
    return _json(
        Replayed(
            queue=queue,
            replayed=len(done.replayed),
            ids=done.replayed,
            failed=[NotReplayed(**one) for one in done.failed],
            missing=done.missing,
            remaining=done.remaining,
        )
    )


@audited("dead-letters.discard")
async def discard(request: web.Request) -> web.Response:
    """Remove letters from a queue of dead letters; 200 has which, and what remains."""
    asked: DiscardRequest = await _asked(request, _discard)
    dead_letters = request.app[BROKER].dead_letters
    queue = dead_letters.work_queue(request.match_info["queue"])
    done = await dead_letters.discard(queue, asked.ids, asked.at_most)
    work_of(request).charge(len(done.replayed))
    noted(request, queue, len(done.replayed))
    return _json(
        Discarded(
            queue=queue,
            discarded=len(done.replayed),
            ids=done.replayed,
            missing=done.missing,
            remaining=done.remaining,
        )
    )


def _json(body: DeadLetterList | Replayed | Discarded) -> web.Response:
    headers = {"Content-Type": "application/json"}
    return web.Response(body=msgspec.json.encode(body), headers=headers)


async def _asked(request: web.Request, decode: Any) -> Any:
    """Read which letters are meant: some by their ids, or all.

    Raises:
        Problem: `forbidden`, `invalid-request`, … (queued: no).
    """
    require(request, "admin")
    check_json(request)
    body = await request.app[INTAKE].bodies.read(request, request.app[SUBMITTING].max_task_bytes)
    asked = decode_with(decode, body)
    if (asked.ids is None) == (not asked.all):
        raise invalid_request("$", "Expected either ids or all: true", queued="no")
    if asked.at_most is not None and not asked.all:
        raise invalid_request("$.at_most", "Goes with all: true", queued="no")
    return asked
