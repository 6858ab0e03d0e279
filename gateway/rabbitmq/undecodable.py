"""Properties and headers that pamqp cannot decode: dead letters of others must not end a consumer.

Text that is not UTF-8, a time after the year 9999 and tables in tables in tables raise where aiormq
reads frames, which ends the connection; the message comes again, and the consumer never gets on.
"""

import logging

from pamqp.commands import Basic

log = logging.getLogger(__name__)

_unmarshal = Basic.Properties.unmarshal


def survive_undecodable() -> None:
    """Have pamqp leave out, in this process, the property that it cannot decode and those after."""
    Basic.Properties.unmarshal = unmarshal_what_it_can  # type: ignore[method-assign, assignment]  # pamqp has no hook for it


def unmarshal_what_it_can(self: Basic.Properties, flags: int, data: bytes) -> None:
    """Decode properties in their order, until one raises (`pamqp.base.BasicProperties`)."""
    try:
        _unmarshal(self, flags, data)
    except Exception:
        log.exception("properties that cannot be decoded")
