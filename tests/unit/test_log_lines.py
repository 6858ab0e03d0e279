"""Log lines: JSON, a constant event, no secrets, never in the way."""

import io
import json
import logging
import threading
from collections.abc import Iterator

import pytest

from gateway.telemetry import log as gateway_log
from gateway.telemetry.log import JsonLine, configure_logging, hide_secrets


@pytest.fixture
def restored() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def line(record: logging.LogRecord) -> dict[str, object]:
    return json.loads(JsonLine().format(record))


def record(event: str = "something-happened", **fields: object) -> logging.LogRecord:
    made = logging.makeLogRecord({"name": "gateway.x", "levelname": "INFO", "msg": event})
    made.__dict__.update(fields)
    return made


def test_a_line_has_the_event_the_fields_and_the_request_id():
    token = gateway_log.REQUEST_ID.set("request-1")
    try:
        told = line(record(queue="default", count=3, ids={"a", "b"} - {"b"}))
    finally:
        gateway_log.REQUEST_ID.reset(token)

    assert (told["event"], told["level"], told["logger"]) == (
        "something-happened",
        "info",
        "gateway.x",
    )
    assert (told["queue"], told["count"], told["request_id"]) == ("default", 3, "request-1")
    assert str(told["time"]).endswith("Z")


def test_no_field_takes_the_place_of_the_event():
    taken = record("delivered", level="high", id="5")
    taken.__dict__["event"] = "an id"
    told = line(taken)
    assert (told["event"], told["level"], told["id"]) == ("delivered", "info", "5")


def test_an_exception_stands_in_the_same_line():
    try:
        raise ValueError("no such thing")
    except ValueError as error:
        told = line(record(exc_info=(type(error), error, error.__traceback__)))

    assert "ValueError: no such thing" in str(told["exception"])


@pytest.mark.parametrize(
    "text",
    [
        "cannot reach amqp://user:s3cret@host:5672/vhost",
        "redis://:s3cret@host/0",
        "http://guest:s3cret@host:15672/api",
        "Authorization: Bearer s3cret-key",
        "authorization: basic czNjcmV0s3cret",
        "GET /v1/stream?ids=a&ticket=s3cret.abc",
    ],
)
def test_secrets_are_hidden(text: str):
    assert "s3cret" in text
    assert "s3cret" not in hide_secrets(text)
    assert "s3cret" not in JsonLine().format(record(detail=text))
    assert "s3cret" not in JsonLine().format(record(text))


def test_lines_are_written_in_order_and_all_of_them(restored):
    del restored
    stream = io.StringIO()
    stop = configure_logging(stream=stream)
    for number in range(500):
        logging.getLogger("gateway.test").info("counted", extra={"number": number})
    stop()

    lines = [json.loads(one) for one in stream.getvalue().splitlines()]
    assert [one["number"] for one in lines] == list(range(500))


def test_a_reader_that_stalls_costs_lines_and_not_time(restored):
    del restored

    class Stalled(io.StringIO):
        def __init__(self) -> None:
            super().__init__()
            self.go = threading.Event()

        def write(self, text: str) -> int:
            self.go.wait(10)
            return super().write(text)

    stream = Stalled()
    stop = configure_logging(stream=stream)
    for number in range(gateway_log.MAX_WAITING_LINES + 500):
        logging.getLogger("gateway.test").info("counted", extra={"number": number})
    stream.go.set()
    stop()

    lines = [json.loads(one) for one in stream.getvalue().splitlines()]
    dropped = sum(one.get("count", 0) for one in lines if one["event"] == "log-lines-dropped")
    assert len([one for one in lines if one["event"] == "counted"]) + dropped == 10_500
    assert dropped > 0


@pytest.mark.usefixtures("restored")
def test_a_fault_of_a_connection_is_a_line_of_ours_and_none_of_the_client():
    stream = io.StringIO()
    stop = configure_logging(stream=stream)

    logging.getLogger("aiormq.connection").error("reader failed", exc_info=OSError("cut"))
    logging.getLogger("aiormq.channel").warning("Closing channel because a call was cancelled")
    logging.getLogger("gateway.rabbitmq.publisher").warning("publish-channel-lost")
    stop()

    [told] = stream.getvalue().splitlines()
    assert json.loads(told)["event"] == "publish-channel-lost"
