"""The document of every ingest measurement: a sensor's reading, about 110 bytes of JSON. Pure."""

import json


def reading(number: int) -> dict[str, object]:
    """One document, without an `_id`."""
    return {
        "sensor": f"s-{number % 997:04d}",
        "site": "hall-7",
        "at": "2026-01-31T12:00:00.000Z",
        "temperature": 21.5 + number % 10,
        "humidity": 40 + number % 30,
        "sequence": number,
    }


def ndjson(count: int) -> bytes:
    """That many documents as NDJSON."""
    return b"".join(json.dumps(reading(number)).encode() + b"\n" for number in range(count))


def json_body(count: int) -> str:
    """One document as an object, several as an array."""
    if count == 1:
        return json.dumps(reading(0))
    return json.dumps([reading(number) for number in range(count)])
