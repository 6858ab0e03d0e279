"""The routing key of a delay, and the names of the levels that it waits in.

Level *n* is an exchange and a queue whose messages expire after 2**n seconds into the level below.
A delayed message carries its seconds as 28 binary words in front of its routing key, and each level
looks at its own word: ``1`` waits here, ``0`` goes straight on.

    penstock_delay_27 ─1─► wait 2**27 s ─┐
           │0                            │
           ▼◄────────────────────────────┘
    penstock_delay_26 … penstock_delay_0 ─► penstock_delivery ─► the queues of the destination

This is the scheme of kombu (``kombu/transport/native_delayed_delivery.py``) with three changes:
the exchange of the destination stands in the key, so that direct exchanges and equal keys of two
exchanges work; bindings on the delivery exchange have exactly 28 ``*``, because ``#.q`` also
matches keys that merely end in ``q``; and a message enters at its highest level, not the topmost.
"""

from collections.abc import Container

LEVELS = 28
"""Number of delay levels, and of the binary words in a delay key."""
MAX_BROKER_DELAY_S = 2**LEVELS - 1
"""The longest delay in seconds: 8.5 years."""
MAX_KEY_BYTES = 255
"""AMQP's short string (AMQP 0-9-1, 4.2.5.3): the longest routing key and the longest name."""
DELIVERY_EXCHANGE = "penstock_delivery"
"""Where a message arrives when its delay is over."""
LEVEL_PREFIX = "penstock_delay_"
ANY_DELAY = ".".join("*" * LEVELS)
"""Binding key of the delay words, whatever they are."""
PREFIX_BYTES = 2 * LEVELS
"""How much of a delay key the delay words and their dots take."""


def level_name(level: int) -> str:
    """Name the exchange and the queue of one level, 0 to 27."""
    return f"{LEVEL_PREFIX}{level}"


def destination_words(exchange: str, key: str) -> str:
    """Write a destination as the words behind the delay: exchange and key, or a queue name.

    An empty key adds no word, as an empty routing key has none on a topic exchange.
    """
    return f"{exchange}.{key}" if exchange and key else exchange or key


def delay_route(delay_s: int, exchange: str, routing_key: str) -> tuple[str, str]:
    """Find where to publish a message that is to reach its destination later.

    Args:
        delay_s: whole seconds, 1 to ``MAX_BROKER_DELAY_S``.
        exchange: the destination; ``""`` is the default exchange.
        routing_key: the routing key there; the name of the queue on the default exchange.

    Returns:
        The exchange to publish to and the routing key to use.

    Raises:
        ValueError: the delay is out of range, the destination is empty, or the key would be longer
            than 255 bytes. Queued: no.
    """
    if not 1 <= delay_s <= MAX_BROKER_DELAY_S:
        raise ValueError(f"a delay is 1 to {MAX_BROKER_DELAY_S} seconds, not {delay_s}")
    words = destination_words(exchange, routing_key)
    if not words:
        raise ValueError("a delayed message needs a queue name or an exchange")
    key = f"{'.'.join(f'{delay_s:0{LEVELS}b}')}.{words}"
    if len(key.encode()) > MAX_KEY_BYTES:
        raise ValueError(
            f"with its delay the routing key would be longer than {MAX_KEY_BYTES} bytes"
        )
    return level_name(delay_s.bit_length() - 1), key


def is_delay_exchange(exchange: str | None) -> bool:
    """Tell from the exchange of a delivery whether the message waited in the delay levels.

    RabbitMQ names the exchange that the last level dead-lettered into: after 3 s that is
    ``penstock_delivery``, after 2 s ``penstock_delay_0``, which only leads there.
    """
    return exchange == DELIVERY_EXCHANGE or (exchange or "").startswith(LEVEL_PREFIX)


def delayed_destination(routing_key: str, exchanges: Container[str]) -> tuple[str, str] | None:
    """Read the destination back from the routing key of a delayed message.

    Args:
        routing_key: the routing key of a delivery, see `is_delay_exchange`.
        exchanges: names of the exchanges of the layout. No queue has a name that begins with one of
            them and a dot (the layout is validated), so the answer is unambiguous.

    Returns:
        Exchange and routing key as given to `delay_route`; None when the key carries no delay.
    """
    bits, words = routing_key[:PREFIX_BYTES], routing_key[PREFIX_BYTES:]
    if not words or bits[1::2] != "." * LEVELS or bits[::2].strip("01"):
        return None
    exchange, _, key = words.partition(".")
    return (exchange, key) if exchange in exchanges else ("", words)
