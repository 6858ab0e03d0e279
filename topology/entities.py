"""Exchange, Queue and Binding as frozen values; each names its own faults.

Constructing one never raises: `topology.model.Topology` collects the faults of all of them, so that
an operator reads every fault of a file at once.

What has the owner `app` belongs to a Celery app, or to another program: it is described here, and
neither declared nor changed. Whatever name RabbitMQ takes is good.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from penstock.wire.delay import (
    DELIVERY_EXCHANGE,
    LEVEL_PREFIX,
    MAX_KEY_BYTES,
    PREFIX_BYTES,
    destination_words,
)
from penstock.wire.names import (
    BROADCAST_EXCHANGE,
    BROADCAST_QUEUE_PREFIX,
    CALLBACKS_QUEUE,
    DEAD_EXCHANGE,
    DEAD_SUFFIX,
    MOST_SHARDS,
    OUTCOMES_QUEUE,
    UNROUTED_EXCHANGE,
    UNROUTED_QUEUE,
    shard_names,
)

SYSTEM_EXCHANGES: Mapping[str, str] = {
    BROADCAST_EXCHANGE: "fanout",
    DEAD_EXCHANGE: "direct",
    UNROUTED_EXCHANGE: "fanout",
    DELIVERY_EXCHANGE: "topic",
}
"""Exchanges that every layout has, with their types; a layout may name them, not change them."""
UNBINDABLE_EXCHANGES = frozenset({DEAD_EXCHANGE, UNROUTED_EXCHANGE, DELIVERY_EXCHANGE})
"""System exchanges whose bindings are derived, all of them."""

Owner = Literal["penstock", "app"]
OWNERS = ("penstock", "app")
APPS_QUEUE: Mapping[str, Any] = {"type": "classic", "dead_letter": False}
"""What a queue of an app is where the layout does not say: Celery's default, without a dead-letter
queue of ours."""
EXCHANGE_TYPES = ("direct", "topic", "fanout", "headers")
QUEUE_TYPES = ("quorum", "classic")
OVERFLOWS = ("reject-publish", "drop-head")
DEAD_LETTER_STRATEGIES = ("at-least-once", "at-most-once")
LEADER_LOCATORS = ("balanced", "client-local")
GROUP_SIZES = (1, 3, 5, 7)
SHARDED_BY = ("routing_key", "task_id")
HEADER_MATCHES = ("all", "any", "all-with-x", "any-with-x")
MAX_LIMIT = 10**12
DEFAULT_DELIVERY_LIMIT = 20
LAST_RESORT = 10
"""The broker's limit is this many times the gateway's: see `Queue.limit`."""

_OWN_EXCHANGES = (LEVEL_PREFIX, "penstock_")
_RESERVED_EXCHANGES = (*_OWN_EXCHANGES, "amq.", "celeryev", "celery.pidbox")
OWN_QUEUES = (LEVEL_PREFIX, "penstock_", OUTCOMES_QUEUE, UNROUTED_QUEUE)
_RESERVED_QUEUES = (*OWN_QUEUES, "amq.", BROADCAST_QUEUE_PREFIX, "celeryev.")
_DECLARED_FIELDS = (
    "delivery_limit", "dead_letter", "dead_letter_strategy", "overflow", "message_ttl_ms",
    "initial_group_size", "leader_locator", "shards", "shard_by",
)  # fmt: skip
"""Fields of a queue that only its declaration reads."""
_RESERVED_ENDINGS = (DEAD_SUFFIX, ".celery.pidbox")


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """A durable exchange."""

    name: str
    """One word without dots: it stands as the first word behind the delay in a delay key."""
    type: Literal["direct", "topic", "fanout", "headers"]
    publishable: bool = False
    """Whether a client of the gateway may name it in ``options.exchange``."""
    alternate: str | None = None
    """Exchange for messages that match no binding here; None: they come back as unroutable."""
    owner: Owner = "penstock"
    """`app`: described, neither declared nor changed."""

    @property
    def ours(self) -> bool:
        """Whether it is ours to declare."""
        return self.owner != "app"

    @property
    def arguments(self) -> dict[str, Any]:
        """The AMQP arguments, exactly as declared; of what is an app's: none are known."""
        if not self.ours:
            return {}
        if self.name == DELIVERY_EXCHANGE:
            return {"alternate-exchange": UNROUTED_EXCHANGE}
        return {"alternate-exchange": self.alternate} if self.alternate else {}

    def faults(self) -> Iterator[str]:
        """Yield a sentence for everything that is wrong with this exchange alone."""
        here = f"exchange {self.name!r}"
        yield from _name_faults(here, self.name, ours=self.ours)
        yield from _owner_faults(here, self.owner)
        if "." in self.name and self.ours:
            yield f"{here}: the name of an exchange has no dots (it is one word of a delay key)"
        if self.type not in EXCHANGE_TYPES:
            yield f"{here}: type {self.type!r} is none of {', '.join(EXCHANGE_TYPES)}"
        if wanted := SYSTEM_EXCHANGES.get(self.name):
            if not self.ours:
                yield f"{here}: it is one of Penstock's own, so its owner is no app"
            if self.type != wanted:
                yield f"{here}: its type is {wanted}, not {self.type}"
            if self.alternate:
                yield f"{here}: its alternate exchange is not configurable"
            if self.publishable and self.name in UNBINDABLE_EXCHANGES:
                yield f"{here}: nobody publishes to it, so it cannot be publishable"
        elif self.name.startswith(_OWN_EXCHANGES if not self.ours else _RESERVED_EXCHANGES):
            yield f"{here}: the name is reserved"
        if self.alternate == self.name:
            yield f"{here}: it cannot be its own alternate exchange"


@dataclass(frozen=True, slots=True, kw_only=True)
class Queue:
    """A durable queue that workers consume."""

    name: str
    type: Literal["quorum", "classic"] = "quorum"
    """Quorum queues are replicated and are what the no-loss promise rests on."""
    max_priority: int | None = None
    """Highest message priority, 1 to 255, classic queues only; None: priorities are ignored."""
    limit: int = 500_000
    """Messages in the queue from which the gateway answers 429.

    The broker refuses at ten times as many (``x-max-length``), as the last resort: a queue that
    refuses blocks the delay levels of all others.
    """
    delivery_limit: int = DEFAULT_DELIVERY_LIMIT
    """Deliveries after which a quorum queue dead-letters a message; at least 1."""
    dead_letter: bool = True
    """Whether rejected, expired and given-up messages go to ``<name>.dead``, or are dropped."""
    dead_letter_strategy: Literal["at-least-once", "at-most-once"] | None = None
    """None: at-least-once on quorum queues; classic queues have at-most-once only."""
    overflow: Literal["reject-publish", "drop-head"] = "reject-publish"
    """What the broker does at its limit; ``drop-head`` drops messages that were confirmed."""
    message_ttl_ms: int | None = None
    """Age in milliseconds at which a message expires; None: never."""
    initial_group_size: int | None = None
    """On how many nodes a quorum queue is made, odd; None: as RabbitMQ is configured (3)."""
    leader_locator: Literal["balanced", "client-local"] | None = None
    """Where its leader is made: on the node with the fewest, or on that of the connection that
    declares it. None: as RabbitMQ is configured (``queue_leader_locator``)."""
    shards: int | None = None
    """How many queues of RabbitMQ share its messages, 1 to 64, quorum only; each has the
    broker's limit, while `limit` is of all together. None: it is one queue, bound itself."""
    shard_by: Literal["routing_key", "task_id"] | None = None
    """What decides on the shard of a message: what is alike in it stays in one shard, and so in
    order. None: `Topology.shard_by`."""
    owner: Owner = "penstock"
    """`app`: described by `type`, `max_priority` and `limit`, neither declared nor changed."""

    @property
    def ours(self) -> bool:
        """Whether it is ours to declare."""
        return self.owner != "app"

    @property
    def shard_names(self) -> tuple[str, ...]:
        """The queues of RabbitMQ that have its messages; of one that is not sharded: itself."""
        return shard_names(self.name, self.shards or 1)

    @property
    def broker_limit(self) -> int:
        """Messages from which the broker itself refuses."""
        return self.limit * LAST_RESORT

    @property
    def arguments(self) -> dict[str, Any]:
        """The AMQP arguments, exactly as declared; of what is an app's: none are known."""
        if not self.ours:
            return {}
        arguments: dict[str, Any] = {
            "x-queue-type": self.type,
            "x-max-length": self.broker_limit,
            "x-overflow": self.overflow,
        }
        if self.type == "quorum":
            arguments["x-delivery-limit"] = self.delivery_limit
        if self.initial_group_size is not None:
            arguments["x-quorum-initial-group-size"] = self.initial_group_size
        if self.leader_locator is not None:
            arguments["x-queue-leader-locator"] = self.leader_locator
        if self.max_priority is not None:
            arguments["x-max-priority"] = self.max_priority
        if self.message_ttl_ms is not None:
            arguments["x-message-ttl"] = self.message_ttl_ms
        if self.dead_letter:
            arguments["x-dead-letter-exchange"] = DEAD_EXCHANGE
            arguments["x-dead-letter-routing-key"] = self.name
            if self.type == "quorum":
                arguments["x-dead-letter-strategy"] = self.dead_letter_strategy or "at-least-once"
        return arguments

    def faults(self) -> Iterator[str]:
        """Yield a sentence for everything that is wrong with this queue alone."""
        here = f"queue {self.name!r}"
        yield from _name_faults(here, self.name, ours=self.ours)
        yield from _owner_faults(here, self.owner)
        yield from (f"{here}: {fault}" for fault in self._naming() if self.ours)
        if not self.ours and self.name.startswith(OWN_QUEUES):
            yield f"{here}: it is one of Penstock's own, so its owner is no app"
        if self.type not in QUEUE_TYPES:
            yield f"{here}: type {self.type!r} is none of {', '.join(QUEUE_TYPES)}"
        if self.overflow not in OVERFLOWS:
            yield f"{here}: overflow {self.overflow!r} is none of {', '.join(OVERFLOWS)}"
        if not 1 <= self.limit <= MAX_LIMIT:
            yield f"{here}: limit is 1 to {MAX_LIMIT} messages, not {self.limit}"
        if self.delivery_limit < 1:
            yield f"{here}: delivery_limit is at least 1, not {self.delivery_limit}"
        if self.message_ttl_ms is not None and self.message_ttl_ms < 0:
            yield f"{here}: message_ttl_ms is not negative"
        yield from (f"{here}: {fault}" for fault in self._contradictions())

    def _naming(self) -> Iterator[str]:
        """Yield why no queue of ours can have this name."""
        yield from _word_faults(self.name, "name")
        if self.name.startswith(_RESERVED_QUEUES) or self.name.endswith(_RESERVED_ENDINGS):
            yield "the name is reserved"
        if PREFIX_BYTES + len(self.name.encode()) > MAX_KEY_BYTES:
            yield f"the name leaves no room for a delay ({PREFIX_BYTES} of 255 bytes)"

    def _contradictions(self) -> Iterator[str]:
        """Yield what RabbitMQ would refuse or, worse, silently ignore."""
        if not self.ours:
            defaults = Queue(name=self.name, **APPS_QUEUE)
            for name in _DECLARED_FIELDS:
                if getattr(self, name) != getattr(defaults, name):
                    yield f"{name} is for its app to declare: leave it out where owner is app"
            return
        yield from self._type_faults()
        yield from self._shard_faults()
        yield from self._dead_letter_faults()

    def _type_faults(self) -> Iterator[str]:
        quorum = self.type == "quorum"
        if self.max_priority is not None:
            if quorum:
                yield 'max_priority needs type = "classic": quorum queues have no x-max-priority'
            if not 1 <= self.max_priority <= 255:
                yield f"max_priority is 1 to 255, not {self.max_priority}"
        if not quorum and self.delivery_limit != DEFAULT_DELIVERY_LIMIT:
            yield 'delivery_limit needs type = "quorum": a classic queue delivers for ever'
        if not quorum and (self.initial_group_size or self.leader_locator):
            yield 'initial_group_size and leader_locator need type = "quorum"'
        if self.initial_group_size is not None and self.initial_group_size not in GROUP_SIZES:
            yield f"initial_group_size is 1, 3, 5 or 7, not {self.initial_group_size}"
        if self.leader_locator not in (None, *LEADER_LOCATORS):
            yield f"leader_locator is one of {', '.join(LEADER_LOCATORS)}"

    def _dead_letter_faults(self) -> Iterator[str]:
        quorum, strategy = self.type == "quorum", self.dead_letter_strategy
        if strategy not in (None, *DEAD_LETTER_STRATEGIES):
            yield f"dead_letter_strategy is one of {', '.join(DEAD_LETTER_STRATEGIES)}"
        if strategy is not None and not self.dead_letter:
            yield "dead_letter_strategy without dead_letter"
        if strategy == "at-least-once" and not quorum:
            yield 'dead_letter_strategy "at-least-once" needs type = "quorum"'
        at_least_once = quorum and self.dead_letter and strategy != "at-most-once"
        if at_least_once and self.overflow != "reject-publish":
            yield (
                'at-least-once dead-lettering needs overflow = "reject-publish" '
                '(or say dead_letter_strategy = "at-most-once")'
            )

    def _shard_faults(self) -> Iterator[str]:
        if self.shard_by not in (None, *SHARDED_BY):
            yield f"shard_by {self.shard_by!r} is none of {', '.join(SHARDED_BY)}"
        if self.shards is None:
            if self.shard_by is not None:
                yield "shard_by needs shards"
            return
        if not 1 <= self.shards <= MOST_SHARDS:
            yield f"shards is 1 to {MOST_SHARDS}, not {self.shards}"
        if self.type != "quorum":
            yield 'shards needs type = "quorum"'
        if self.name == CALLBACKS_QUEUE:
            yield "shards is not for the queue that gateways consume"


@dataclass(frozen=True, slots=True, kw_only=True)
class Binding:
    """One binding of a queue to an exchange."""

    exchange: str
    queue: str
    key: str = ""
    """Binding key: a routing key (direct), a pattern (topic), empty (fanout, headers)."""
    arguments: Mapping[str, str | bool] = field(default_factory=dict)
    """Headers exchanges only: ``x-match`` and the headers to compare.

    Numbers are not taken: the client libraries write them in different widths, and RabbitMQ takes
    those for different bindings.
    """

    def faults(self, exchange_type: str) -> Iterator[str]:
        """Yield a sentence for everything that is wrong with this binding on such an exchange."""
        here = f"binding {self.exchange!r} → {self.queue!r}"
        if exchange_type in ("fanout", "headers") and self.key:
            yield f"{here}: a {exchange_type} exchange ignores the key {self.key!r}"
        if exchange_type in ("direct", "topic") and self.key:
            yield from (f"{here}: {fault}" for fault in key_faults(self.exchange, self.key))
            words = self.key.split(".")
            if exchange_type == "direct" and not {"*", "#"}.isdisjoint(words):
                yield f"{here}: key {self.key!r} is a pattern, but the exchange is direct"
            if any(len(word) > 1 and ("*" in word or "#" in word) for word in words):
                yield f"{here}: in key {self.key!r}, * and # must be whole words"
        if exchange_type == "headers":
            yield from (f"{here}: {fault}" for fault in self._header_faults())
        elif self.arguments:
            yield f"{here}: only a headers exchange looks at binding arguments"

    def _header_faults(self) -> Iterator[str]:
        match = self.arguments.get("x-match", "all")
        names = [name for name in self.arguments if name != "x-match"]
        if match not in HEADER_MATCHES:
            yield f"x-match {match!r} is none of {', '.join(HEADER_MATCHES)}"
        elif str(match).startswith("any") and not names:
            yield f"x-match {match!r} without headers never matches"
        if match in ("all", "any") and any(name.startswith("x-") for name in names):
            yield f"x-match {match!r} ignores x-… headers; say {match}-with-x"
        for name in names:
            if not isinstance(self.arguments[name], str | bool):
                yield f"header {name!r} must be a string or a boolean"


def _name_faults(here: str, name: str, *, ours: bool) -> Iterator[str]:
    if not name:
        yield f"{here}: the name is empty"
    if len(name.encode()) > MAX_KEY_BYTES:
        yield f"{here}: the name is longer than {MAX_KEY_BYTES} bytes"
    if any((character in "*#" and ours) or not character.isprintable() for character in name):
        yield f"{here}: the name has *, # or an unprintable character"


def _owner_faults(here: str, owner: str) -> Iterator[str]:
    if owner not in OWNERS:
        yield f"{here}: owner {owner!r} is none of {', '.join(OWNERS)}"


def _word_faults(text: str, what: str) -> Iterator[str]:
    if text.startswith(".") or text.endswith(".") or ".." in text:
        yield f"{what} {text!r} has an empty word"


def key_faults(exchange: str, key: str) -> Iterator[str]:
    """Yield what is wrong with a key by which messages may be delayed."""
    yield from _word_faults(key, "key")
    if PREFIX_BYTES + len(destination_words(exchange, key).encode()) > MAX_KEY_BYTES:
        yield f"key {key!r} leaves no room for the exchange and a delay ({PREFIX_BYTES} bytes)"
