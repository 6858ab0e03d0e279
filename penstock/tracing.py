"""Whether this process traces: off, nothing of OpenTelemetry is imported, and nothing is asked."""

import importlib
from typing import Any

MISSING = (
    "TRACING=1 needs OpenTelemetry's SDK and exporter: "
    "pip install opentelemetry-sdk opentelemetry-exporter-otlp-proto-http"
)


class TracingMissingError(Exception):
    """Tracing is switched on, and OpenTelemetry is not installed."""

    def __init__(self) -> None:
        super().__init__(MISSING)


def spans() -> Any:
    """Return the module `penstock.spans`.

    Raises:
        TracingMissingError: OpenTelemetry is not installed.
    """
    try:
        return importlib.import_module("penstock.spans")
    except ModuleNotFoundError as error:
        if (error.name or "").split(".")[0] == "opentelemetry":
            raise TracingMissingError from error
        raise
