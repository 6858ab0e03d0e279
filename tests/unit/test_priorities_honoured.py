"""Which queues honour a priority, and the refusal where none does."""

import pytest

from gateway.errors import Problem
from gateway.rabbitmq.connection import major_version
from gateway.submitting.priorities import check_priority, honours
from topology.entities import Queue

QUORUM = Queue(name="q")
PLAIN = Queue(name="p", type="classic")
RANKED = Queue(name="r", type="classic", max_priority=9)


@pytest.mark.parametrize(
    ("version", "major"),
    [("3.10.8", 3), (b"4.0.5", 4), ("4", 4), ("", None), (None, None), ("next", None)],
)
def test_the_major_version_is_read_from_the_servers_properties(version, major):
    assert major_version({"version": version}) == major
    assert major_version({}) is None


@pytest.mark.parametrize(
    ("queue", "rabbitmq", "honoured"),
    [
        (QUORUM, 3, False),
        (QUORUM, 4, True),
        (QUORUM, None, True),
        (PLAIN, 4, False),
        (PLAIN, None, False),
        (RANKED, 3, True),
    ],
)
def test_a_priority_is_honoured_by_type_and_version(queue, rabbitmq, honoured):
    assert honours(queue, rabbitmq) is honoured


@pytest.mark.parametrize(
    ("queues", "words"),
    [((QUORUM, PLAIN), ("'q' or 'p'", "RabbitMQ 4")), ((PLAIN,), ("max_priority",)), ((), ())],
)
def test_a_priority_that_no_queue_honours_is_refused_with_the_remedy(queues, words):
    with pytest.raises(Problem) as refused:
        check_priority(queues, 3)

    [fault] = refused.value.faults
    assert (refused.value.status, refused.value.queued) == (400, "no")
    assert fault.at == "$.options.priority"
    assert all(word in fault.detail for word in words)
    check_priority((*queues, RANKED), 3)
