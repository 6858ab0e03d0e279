"""The age of what waits, and the rate of starts, of queues that are played."""

import random
from collections import deque

import pytest

from gateway.operating.queue_flow import QueueFlow


class Played:
    """A queue whose messages have known arrivals; counts and depths are seen late."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)
        self.now = 0.0
        self.waiting: deque[float] = deque()
        self.taken = self.flushed = 0
        self.flow = QueueFlow()
        self.oldest: deque[tuple[float, float]] = deque(maxlen=3)
        """Of the last looks: when, and when the oldest had come."""

    def second(self, arrivals: int, takes: int) -> None:
        flush_at = self.random.randrange(7, 11)
        for tenth in range(11):
            if tenth == flush_at:
                self.flushed = self.taken
            if tenth == 10:
                break
            self.now += 0.1
            for _ in range(arrivals // 10):
                self.waiting.append(self.now)
            for _ in range(min(len(self.waiting), takes // 10)):
                self.waiting.popleft()
                self.taken += 1
        if self.waiting:
            self.oldest.append((self.now, self.waiting[0]))
        self.flow.observe(self.now, len(self.waiting), self.flushed, self.flushed)


@pytest.mark.parametrize("seed", range(20))
def test_the_oldest_is_known_within_five_seconds_whatever_the_queue_does(seed: int):
    queue = Played(seed)
    queue.second(0, 0)
    known = 0
    for _ in range(200):
        arrivals, takes = queue.random.choice([(50, 10), (10, 50), (40, 40), (30, 0), (0, 20)])
        for _ in range(queue.random.randrange(1, 30)):
            queue.second(arrivals, takes)
            told = queue.flow.oldest_s(queue.now)
            if queue.waiting and told is not None:
                # Late by a second, in which many may be taken that came far apart.
                ages = [now - since for now, since in queue.oldest]
                assert min(ages) - 5 <= told <= max(ages) + 5
                known += 1
    assert known > 500


def test_a_queue_is_idle_until_the_last_look_as_nothing_is_known_of_the_time_since():
    flow = QueueFlow()
    flow.observe(0.0, 10, 0, 0)
    flow.observe(1.0, 10, 5, 5)
    flow.observe(3.0, 10, 5, 5)
    assert flow.idle_s == 2.0

    flow.observe(100.0, 10, 30, 30)  # RabbitMQ did not answer meanwhile
    assert flow.idle_s == 0.0
    flow.observe(170.0, 10, 30, 30)
    assert flow.idle_s == 70.0


def test_what_waited_before_the_first_look_has_no_age_until_it_was_taken():
    flow = QueueFlow()
    flow.observe(0, ready=10, taken=100, started=100)
    flow.observe(10, ready=15, taken=100, started=100)
    assert flow.oldest_s(20) is None

    flow.observe(20, ready=5, taken=110, started=110)

    assert flow.oldest_s(20) == 10


def test_messages_that_expire_are_not_taken_for_the_oldest_for_long():
    flow = QueueFlow()
    flow.observe(0, ready=0, taken=0, started=0)
    flow.observe(1, ready=10, taken=0, started=0)
    flow.observe(100, ready=15, taken=0, started=0)
    for now in range(101, 110):
        flow.observe(now, ready=5, taken=0, started=0)  # the first ten are gone

    assert flow.oldest_s(110) == 10


def test_the_rate_needs_a_past_and_survives_what_is_taken_back():
    flow = QueueFlow()
    flow.observe(0, ready=0, taken=0, started=0)
    assert [flow.started_per_s, flow.drain_s] == [None, 0]
    flow.observe(10, ready=100, taken=20, started=20)
    assert [flow.started_per_s, flow.drain_s] == [2, 50]
    flow.observe(11, ready=100, taken=20, started=18)
    assert flow.started_at == 10
    for now in range(12, 60):
        flow.observe(now, ready=100, taken=20, started=20)

    assert [flow.started_per_s, flow.drain_s] == [0, None]


def test_counts_that_redis_lost_begin_a_new_past():
    flow = QueueFlow()
    flow.observe(0, ready=0, taken=500, started=500)
    flow.observe(1, ready=10, taken=500, started=500)
    assert flow.oldest_s(5) == 4

    flow.observe(6, ready=10, taken=0, started=0)

    assert flow.oldest_s(7) is None
