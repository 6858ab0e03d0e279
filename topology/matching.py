"""Which bindings a message matches, as RabbitMQ decides it. Pure; compared with a real broker.

Sources: ``rabbit_exchange_type_topic.erl`` (words, ``*``, ``#``) and
``rabbit_exchange_type_headers.erl`` (``x-match``) of RabbitMQ.
"""

from collections.abc import Mapping, Sequence
from typing import Any


def key_words(key: str) -> list[str]:
    """Split a routing or binding key; the empty key has no words, ``a.`` has an empty second."""
    return key.split(".") if key else []


def topic_matches(pattern: Sequence[str], words: Sequence[str]) -> bool:
    """Tell whether a topic pattern matches a routing key.

    Never backtracks further than to the last ``#``, so that a hostile key costs at most
    ``len(pattern) * len(words)`` comparisons.

    Args:
        pattern: the words of the binding key; ``*`` is one word, ``#`` none or more.
        words: the words of the routing key.
    """
    at = word = 0
    hash_at, hash_word = -1, 0
    while word < len(words):
        if at < len(pattern) and pattern[at] == "#":
            hash_at, hash_word = at, word
            at += 1
        elif at < len(pattern) and pattern[at] in ("*", words[word]):
            at += 1
            word += 1
        elif hash_at >= 0:
            hash_word += 1
            at, word = hash_at + 1, hash_word
        else:
            return False
    return all(rest == "#" for rest in pattern[at:])


def headers_match(arguments: Mapping[str, Any], headers: Mapping[str, Any]) -> bool:
    """Tell whether the arguments of a binding match the headers of a message.

    Args:
        arguments: the binding's; ``x-match`` is ``all`` (default), ``any``, ``all-with-x`` or
            ``any-with-x``. Without ``-with-x``, arguments that begin with ``x-`` do not count.
        headers: the message's.
    """
    kind = arguments.get("x-match", "all")
    with_x = kind in ("all-with-x", "any-with-x")
    compared = (
        name in headers and _equal(value, headers[name])
        for name, value in arguments.items()
        if name != "x-match" and (with_x or not name.startswith("x-"))
    )
    return any(compared) if kind in ("any", "any-with-x") else all(compared)


def _equal(wanted: object, value: object) -> bool:
    # Python takes True for 1; the broker, which compares AMQP values, does not.
    return wanted == value and isinstance(wanted, bool) == isinstance(value, bool)
