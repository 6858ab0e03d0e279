"""Properties and headers that py-amqp cannot decode: of a message for the dead letters.

What it raises (text that is not UTF-8, a time after the year 9999, tables in tables in tables) it
raises in the worker's main loop, as if the connection was broken; each worker that the message is
delivered to would end of it, in turn.
"""

import logging
from typing import Any

from amqp import serialization
from amqp.spec import Basic

_logger = logging.getLogger(__name__)

_decode = serialization.decode_properties_basic


def decode_or_none(buffer: Any, offset: int) -> tuple[dict[str, Any], int]:
    """Decode the properties of a message, or none of them: it is no task then, and rejected."""
    try:
        return _decode(buffer, offset)  # type: ignore[no-any-return]  # py-amqp has no types
    except Exception:
        _logger.exception("properties that cannot be decoded")
        return {}, len(buffer)


def survive_undecodable() -> None:
    """Have py-amqp decode all messages of this process so."""
    serialization.PROPERTY_CLASSES[Basic.CLASS_ID] = decode_or_none
