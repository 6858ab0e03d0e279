"""In and out per second over the last hour of a queue, from looks at depth and counts."""

from gateway.operating.queue_past import STEP_S, STEPS, QueuePast


def look(past, *, seconds, at=0, ready=0, taken=0, entering=0, leaving=0):
    """Look each second at a queue that moves evenly; what waits and was taken then."""
    for second in range(at, at + seconds + 1):
        past.observe(second, ready, taken)
        ready, taken = ready + entering - leaving, taken + leaving
    return ready, taken


def test_rates_stand_in_their_step_and_the_last_is_that_of_now():
    past = QueuePast()
    ready, taken = look(past, seconds=59, entering=5, leaving=3)
    look(past, at=60, seconds=10, ready=ready, taken=taken, entering=1, leaving=1)
    entered, left = past.rates(70)

    assert len(entered) == len(left) == STEPS
    assert entered[-3:] == [5, 5, 1]
    assert left[-3:] == [3, 3, 1]
    assert entered[:-3] == [None] * (STEPS - 3)


def test_an_hour_is_kept():
    past = QueuePast()
    look(past, seconds=2 * STEPS * STEP_S, entering=1, leaving=1)
    entered, _ = past.rates(2 * STEPS * STEP_S + 5)

    assert entered == [1] * (STEPS - 1) + [None]  # the step of now has hardly begun
    assert past.rates(4 * STEPS * STEP_S)[0] == [None] * STEPS


def test_what_was_not_looked_at_is_not_known():
    past = QueuePast()
    look(past, seconds=29, entering=2)
    look(past, at=120, seconds=29, entering=4)

    assert past.rates(149)[0][-5:] == [2, None, None, None, 4]


def test_lost_counts_and_a_purge_are_no_negative_rate():
    past = QueuePast()
    ready, _ = look(past, seconds=10, entering=9, leaving=4)
    look(past, at=11, seconds=10, ready=ready, taken=0, entering=9, leaving=4)  # Redis lost them
    entered, left = past.rates(21)
    assert entered[-1] == 9
    assert left[-1] == 4

    purged = QueuePast()
    look(purged, seconds=10, ready=100)
    look(purged, at=11, seconds=10)
    assert purged.rates(21)[0][-1] == 0
