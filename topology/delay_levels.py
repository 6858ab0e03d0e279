"""The delay levels as declarations; `penstock.wire.delay` draws them and makes their keys."""

from penstock.wire.delay import DELIVERY_EXCHANGE, LEVELS, level_name
from penstock.wire.names import UNROUTED_EXCHANGE
from topology.declarations import (
    BindingDeclaration,
    Declarations,
    ExchangeDeclaration,
    QueueDeclaration,
)


def levels() -> Declarations:
    """List the delay levels and the delivery exchange, bound to each other."""
    top_down = range(LEVELS - 1, -1, -1)
    below = {level: level_name(level - 1) if level else DELIVERY_EXCHANGE for level in top_down}
    return Declarations(
        exchanges=(
            *(ExchangeDeclaration(name=level_name(level), type="topic") for level in top_down),
            ExchangeDeclaration(
                name=DELIVERY_EXCHANGE,
                type="topic",
                arguments={"alternate-exchange": UNROUTED_EXCHANGE},
            ),
        ),
        queues=tuple(
            QueueDeclaration(
                name=level_name(level),
                arguments={
                    "x-queue-type": "quorum",
                    # reject-publish is what RabbitMQ demands for at-least-once.
                    "x-overflow": "reject-publish",
                    "x-dead-letter-strategy": "at-least-once",
                    "x-dead-letter-exchange": below[level],
                    "x-message-ttl": 2**level * 1000,
                },
            )
            for level in top_down
        ),
        bindings=tuple(
            binding
            for level in top_down
            for binding in (
                BindingDeclaration(
                    source=level_name(level),
                    destination=level_name(level),
                    key="*." * (LEVELS - 1 - level) + "1.#",
                ),
                BindingDeclaration(
                    source=level_name(level),
                    destination=below[level],
                    destination_type="exchange",
                    key="*." * (LEVELS - 1 - level) + "0.#",
                ),
            )
        ),
    )
