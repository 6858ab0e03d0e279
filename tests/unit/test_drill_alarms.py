"""Which reports of problems a drill takes for false ones."""

from devstack.drill.alarms import EXPLAINED_BY, RESTART_SOON_S, SOON_S, Absence, Alarm, unexplained
from devstack.drill.director import Episode
from devstack.drill.faults import FAULTS, STOCK_FAULTS


def alarm(code: str, at: float, subject: str = "one") -> Alarm:
    return Alarm(at=at, gateway="gateway-a", code=code, subject=subject, detail="")


def episode(*names: str, began: float = 100.0, healed: float = 110.0) -> Episode:
    return Episode(names=names, began=began, healed=healed)


def test_every_fault_that_explains_one_is_a_fault():
    assert set().union(*EXPLAINED_BY.values()) <= {*FAULTS, *STOCK_FAULTS}


def test_a_problem_is_explained_from_its_fault_until_soon_after_the_healing():
    episodes = [episode("kill-worker", "poison")]
    last = 110 + SOON_S
    explained = [alarm("worker-silent", at) for at in (100, 105, last)]
    before, after = alarm("worker-silent", 99, "a"), alarm("worker-silent", last + 1, "b")

    assert unexplained([*explained, before, after], episodes) == [before, after]


def test_a_fault_of_another_kind_explains_nothing():
    wrong = alarm("history-behind", 105)

    assert unexplained([wrong, alarm("history-behind", 106)], [episode("kill-worker")]) == [wrong]
    assert unexplained([alarm("redis-memory", 105)], [episode("kill-redis")])


def test_rabbitmq_takes_longer_and_dead_letters_are_always_explained():
    late = alarm("queue-without-worker", 110 + RESTART_SOON_S)

    assert not unexplained([late, alarm("dead-letters-growing", 1)], [episode("kill-rabbitmq")])


def test_a_fault_that_did_not_end_goes_on_explaining():
    assert not unexplained(
        [alarm("beat-silent", 500)], [episode("kill-beat", began=100, healed=0.0)]
    )


def test_a_stock_worker_that_ended_by_itself_explains_what_is_said_of_it_alone():
    absence = Absence(queue="stock-5.7", began=100, ended=120)
    last = 120 + SOON_S
    explained = [
        alarm("queue-without-worker", 115, "stock-5.7"),
        alarm("worker-silent", last, "stock-5.7@host"),
    ]
    others = [
        alarm("queue-without-worker", 115, "stock-5.4"),
        alarm("queue-stalled", 115, "stock-5.7"),
        alarm("queue-without-worker", last + 1, "stock-5.7"),
    ]

    assert unexplained([*explained, *others], [], [absence]) == others
    away = Absence(queue="stock-5.7", began=100, ended=0.0)
    assert not unexplained([others[2]], [], [away])
