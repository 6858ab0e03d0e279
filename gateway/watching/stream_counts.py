"""The counters of streams for /metrics; an event costs one addition to a dict."""

from gateway.telemetry.metrics import Metrics


class StreamCounts:
    """Counters of the process's streams.

    Args:
        metrics: Where they are shown.
    """

    def __init__(self, metrics: Metrics) -> None:
        self.messages = metrics.counter(
            "penstock_stream_messages",
            "Messages to streams and to requests that wait, by type.",
            "type",
        )
        self.subscriptions = metrics.counter(
            "penstock_stream_subscriptions",
            "Tasks that clients began to watch: `new`, or `resumed` after a cursor.",
            "start",
        )
        self.notices = metrics.counter(
            "penstock_notices",
            "Changes that Redis published: to be passed on (`watched`), after the last watcher left"
            " (`unwatched`), or not of a known form (`unreadable`).",
            "outcome",
        )
        self.connections = metrics.counter(
            "penstock_notice_connections",
            "How often the connection that notices come by was `made` and `lost`.",
            "event",
        )
        self.closed = metrics.counter(
            "penstock_streams_closed",
            "Streams that the gateway ended: `slow-consumer`, `silent`, `shutting-down`.",
            "reason",
        )
        self.delay = metrics.histogram(
            "penstock_notice_seconds",
            "From a change, by the clock of Redis, to its message, by the gateway's.",
        )
