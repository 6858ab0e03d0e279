"""What the gateway counts, for Prometheus."""

from aiohttp import web


class Metrics:
    """Counters of one gateway process."""

    def observe_request(self, request: web.Request, status: int, duration_s: float) -> None:
        """Count one answered request."""
