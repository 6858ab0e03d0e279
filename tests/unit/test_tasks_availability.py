"""Who may ask a MongoDB that is away."""

import pytest

from penstock.worker.errors import RetryableError
from tasks.availability import Availability


def ask(availability: Availability, *, fails: bool = False, writable: bool = True) -> None:
    with availability.admitted(writable=writable), availability.asking(writable=writable):
        if fails:
            raise RetryableError("MongoDB: no")


def test_while_no_server_takes_writes_each_is_refused():
    availability = Availability()
    ask(availability, writable=False)  # none has been looked for yet
    with pytest.raises(RetryableError, match="no"):
        ask(availability, fails=True, writable=False)

    with pytest.raises(RetryableError, match="still away: no"):
        ask(availability, writable=False)
    ask(availability)
    ask(availability, writable=False)


def test_a_failure_at_once_stops_no_other():
    availability = Availability()
    with pytest.raises(RetryableError):
        ask(availability, fails=True)

    with availability.admitted(writable=True):
        ask(availability)


def test_after_a_slow_failure_one_task_tries_and_the_others_are_refused_until_it_has_succeeded():
    availability = Availability()
    availability.failed("MongoDB: no answer", slow=True)

    with availability.admitted(writable=True):
        with pytest.raises(RetryableError, match="MongoDB: still away: no answer"):
            ask(availability)
        with availability.asking(writable=True):
            pass
        ask(availability)


def test_what_was_admitted_before_a_slow_failure_asks_no_more():
    availability = Availability()
    with availability.admitted(writable=True), availability.admitted(writable=True):
        availability.failed("MongoDB: no answer", slow=True)

        with (
            pytest.raises(RetryableError, match="MongoDB: still away: no answer"),
            availability.asking(writable=True),
        ):
            pytest.fail("it was asked")
