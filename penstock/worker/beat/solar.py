"""Schedules by the sun for `beat_schedule` in Python code, without Celery's library in C."""

from typing import Any

from penstock.worker.beat.schedule_entries import Recurring


class Solar(Recurring):
    """Due at an event of the sun.

    Args:
        event: one of Celery's names: `sunset`, `dawn_civil`, …
        latitude: degrees, north is positive.
        longitude: degrees, east is positive.

    Raises:
        ValueError: there is no such event or place.
    """

    def __init__(self, event: str, latitude: float, longitude: float, **options: Any) -> None:
        place = {"latitude": latitude, "longitude": longitude}
        super().__init__({"__type__": "solar", "event": event, **place}, **options)
