"""Who calls, what they may do, and how much of it."""

from dataclasses import dataclass

from gateway.access.idempotency import Idempotency
from gateway.access.kept_results import KeptResults
from gateway.access.keyring import KeyRing
from gateway.access.known_ids import KnownIds
from gateway.access.limits import Limits
from gateway.access.task_id import TaskIds
from gateway.access.tickets import Tickets
from gateway.config import GatewayConfig
from gateway.redis.client import RedisClient
from penstock.looper import Looper


@dataclass(frozen=True, slots=True, kw_only=True)
class Access:
    """Keys, ids, and what they allow."""

    keyring: KeyRing
    task_ids: TaskIds
    """Issues ids."""
    known_ids: KnownIds
    """Knows who may ask about which id."""
    tickets: Tickets
    limits: Limits
    """The `rate` of each key."""
    kept_results: KeptResults
    """The quota of each tenant for results."""
    idempotency: Idempotency

    @classmethod
    def make(cls, config: GatewayConfig, redis: RedisClient) -> "Access":
        """Make it.

        Args:
            config: Signing keys, the file of API keys, quotas.
            redis: From `make_redis`.
        """
        keyring, task_ids = KeyRing(config.keys_file), TaskIds(config.task_id_keys)
        return cls(
            keyring=keyring,
            task_ids=task_ids,
            known_ids=KnownIds(task_ids, keyring),
            tickets=Tickets(config.task_id_keys, keyring),
            limits=Limits(redis),
            kept_results=KeptResults(redis, config.quotas.result_bytes),
            idempotency=Idempotency(redis, config.quotas.idempotency_bytes),
        )

    @property
    def loopers(self) -> tuple[Looper, ...]:
        """Read the keys file again; measure what tenants keep."""
        return self.keyring.looper, self.kept_results.looper
