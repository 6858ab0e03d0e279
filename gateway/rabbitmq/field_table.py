"""Field tables of AMQP, as RabbitMQ reads them: the headers of task messages. Pure.

Not pamqp's (4.0): it writes a float in 32 bits, an integer in as few octets as will do, which a
headers exchange does not find equal to what kombu bound, and cuts names at 128 octets.

Source: AMQP 0-9-1 section 4.2.5.5 with RabbitMQ's field types ("AMQP 0-9-1 Errata", section 3).
"""

import struct
from collections.abc import Mapping
from datetime import datetime
from decimal import Decimal
from typing import Any


def short_string(text: str) -> bytes:
    """Return an AMQP short string: one octet of length, then text.

    Raises:
        ValueError: Over 255 octets.
    """
    data = text.encode()
    return bytes((len(data),)) + data


def table_field(name: str, value: Any) -> bytes:
    """Return one field of a table: its name and its value."""
    return short_string(name) + encode_value(value)


def encode_value(value: Any) -> bytes:  # noqa: C901, PLR0912  # a table of types
    """Return a field value with its type octet, as RabbitMQ and py-amqp read them.

    Raises:
        TypeError: None of what JSON has, nor bytes, a datetime or a Decimal.
        ValueError: An integer outside 64 bits, or a key over 255 octets.
    """
    match value:
        case None:
            return b"V"
        case bool():
            return b"t\x01" if value else b"t\x00"
        case int():
            if -(1 << 31) <= value < 1 << 31:
                return b"I" + value.to_bytes(4, "big", signed=True)
            try:
                return b"l" + value.to_bytes(8, "big", signed=True)
            except OverflowError:
                raise ValueError("an integer header is outside 64 bits") from None
        case float():
            return b"d" + struct.pack(">d", value)
        case str():
            data = value.encode()
            return b"S" + len(data).to_bytes(4, "big") + data
        case list() | tuple():
            data = b"".join(encode_value(item) for item in value)
            return b"A" + len(data).to_bytes(4, "big") + data
        case Mapping():
            data = b"".join(table_field(key, item) for key, item in value.items())
            return b"F" + len(data).to_bytes(4, "big") + data
        case bytes() | bytearray():
            return b"x" + len(value).to_bytes(4, "big") + value
        case datetime():
            return b"T" + int(value.timestamp()).to_bytes(8, "big")
        case Decimal():
            return _decimal(value)
        case _:
            raise TypeError(f"a header cannot hold {type(value).__name__}")


def _decimal(value: Decimal) -> bytes:
    """Return a decimal: its places, and 32 bits of digits."""
    exponent = value.as_tuple().exponent
    places = max(0, -exponent) if isinstance(exponent, int) else 0
    number = int(value.scaleb(places))
    if not 0 <= places <= 255 or not -(1 << 31) <= number < 1 << 31:
        raise ValueError("a decimal header is outside 32 bits")
    return b"D" + bytes((places,)) + number.to_bytes(4, "big", signed=True)
