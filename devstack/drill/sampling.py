"""Which requests of a drill are traced: those that carry a `traceparent`."""

import random
import time

from devstack.drill.receipts import IngestReceipt, TaskReceipt


class Sampling:
    """Which requests the client has traced.

    Args:
        share: Of all, from 0 to 1.
        seed: Of the choice.
    """

    def __init__(self, share: float, seed: int) -> None:
        self._share = share
        self._random = random.Random(seed)  # noqa: S311  # no secret: load

    def headers(self, *receipts: TaskReceipt | IngestReceipt) -> dict[str, str]:
        """Return what a request carries, and note its trace in its receipts."""
        if self._random.random() >= self._share:
            return {}
        trace, span = self._random.getrandbits(128), self._random.getrandbits(64)
        for one in receipts:
            one.trace, one.traced_at = f"{trace:032x}-{span:016x}", time.time()
        return {"traceparent": f"00-{trace:032x}-{span:016x}-01"}


NONE = Sampling(0, 0)
"""Traces nothing."""
