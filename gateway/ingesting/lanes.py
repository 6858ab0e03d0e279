"""Lanes: where the batches of one tenant and collection go, and how their messages begin. Pure."""

import re
from collections import OrderedDict
from dataclasses import dataclass, field, replace
from typing import Final

import orjson

from gateway.access.carried import Carried
from gateway.errors import Problem
from gateway.rabbitmq.task_message import (
    MessageOptions,
    Template,
    cached_template,
    template,
)
from penstock.wire.document_rules import collection_fault
from penstock.wire.headers import CHECKED_HEADER, COPY_HEADER, TENANT_HEADER
from penstock.wire.ingest import STORE_TASK
from topology.model import Topology

EXCHANGE: Final = "events"
_CACHED_LANES: Final = 4096


@dataclass(frozen=True, slots=True, eq=False)
class Lane:
    """Where the batches of one tenant and collection go."""

    tenant: str
    collection: str
    queues: tuple[str, ...]
    """Every queue that takes them; at least one."""
    tracked: bool
    """Whether each batch has one result: one queue takes it."""
    template: Template = field(repr=False)
    head: bytes = field(repr=False)
    """The arguments of a batch's task up to the first document."""
    carried: Carried | None = None
    """What its messages say of the one request that they come from."""

    def of(self, carried: Carried) -> "Lane":
        """Return it for the batches of one request."""
        return replace(self, carried=carried)


class Lanes:
    """Finds the lane of a tenant's collection.

    Args:
        topology: Which queues take what is published.
        collection_pattern: What collections may be named; a regular expression.
        origin: Who publishes, `penstock@host`.
        id_length: Characters of a task id.
    """

    def __init__(
        self, topology: Topology, collection_pattern: str, origin: str, id_length: int
    ) -> None:
        self._topology = topology
        self._pattern = re.compile(collection_pattern)
        self._origin = origin
        self._id_length = id_length
        self._plain: OrderedDict[tuple[str, str], Lane] = OrderedDict()

    def __repr__(self) -> str:
        """Count those that are remembered."""
        return f"<Lanes, {len(self._plain)} remembered>"

    def find(
        self,
        tenant: str,
        collection: str,
        *,
        copy: str | None = None,
    ) -> Lane:
        """Return the lane of a tenant's documents of a collection.

        Args:
            tenant: Whose they are.
            collection: Where MongoDB is to keep them.
            copy: Names this copy where the same id may be published twice.

        Raises:
            Problem: `unknown-collection`, `unroutable` (queued: no).
        """
        if copy is not None:
            return self._make(tenant, collection, ((COPY_HEADER, copy),))
        key = (tenant, collection)
        lane = self._plain.get(key)
        if lane is None:
            lane = self._plain[key] = self._make(tenant, collection, ())
            if len(self._plain) > _CACHED_LANES:
                self._plain.popitem(last=False)
        return lane

    def _make(self, tenant: str, collection: str, headers: tuple[tuple[str, str], ...]) -> Lane:
        fault = collection_fault(collection, self._pattern)
        if fault is not None:
            detail = f"{collection!r} cannot be a collection: {fault}"
            raise Problem("unknown-collection", detail, queued="no")
        routing_key = f"documents.{collection}"
        queues = self._topology.match(EXCHANGE, routing_key)
        if not queues:
            raise Problem(
                "unroutable",
                f"no binding of exchange {EXCHANGE!r} matches the routing key {routing_key!r}",
                queued="no",
            )
        make = template if headers else cached_template
        return Lane(
            tenant=tenant,
            collection=collection,
            queues=queues,
            tracked=len(queues) == 1,
            template=make(
                STORE_TASK,
                EXCHANGE,
                routing_key,
                MessageOptions(headers=((CHECKED_HEADER, True), (TENANT_HEADER, tenant), *headers)),
                origin=self._origin,
                id_length=self._id_length,
            ),
            head=b"[%b,[" % orjson.dumps(collection),
        )
