"""Who may ask a MongoDB that is away."""

import pytest

from penstock.worker.errors import RetryableError
from tasks.availability import Availability


def ask(availability: Availability, *, fails: bool = False, writable: bool = True) -> None:
    with availability.asking(writable=writable):
        if fails:
            raise RetryableError("MongoDB: no")


def test_while_no_server_takes_writes_each_is_refused():
    availability = Availability()
    ask(availability, writable=False)  # none has been looked for yet
    with pytest.raises(RetryableError, match="no"):
        ask(availability, fails=True, writable=False)

    with pytest.raises(RetryableError, match="still away: no"):
        availability.check(writable=False)
    ask(availability)
    availability.check(writable=False)


def test_a_failure_at_once_stops_no_other():
    availability = Availability()
    with pytest.raises(RetryableError):
        ask(availability, fails=True)

    with availability.asking(writable=True):
        ask(availability)


def test_after_a_slow_failure_one_tries_and_the_others_are_refused_until_it_has_succeeded():
    availability = Availability()
    availability.failed("MongoDB: no answer", slow=True)

    with availability.asking(writable=True):
        with pytest.raises(RetryableError, match="MongoDB: still away: no answer"):
            ask(availability)
        with pytest.raises(RetryableError, match="MongoDB: still away: no answer"):
            availability.check(writable=True)

    with availability.asking(writable=True):
        ask(availability)
