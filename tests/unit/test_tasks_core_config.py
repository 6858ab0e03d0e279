"""The configuration of a worker."""

from pathlib import Path

import pytest

from penstock.worker.errors import ConfigurationError
from tasks.app import build_app
from tasks.config import WorkerConfig
from topology.layout import load
from topology.settings import with_devstack


def test_defaults_are_localhost():
    config = WorkerConfig.from_env({})

    assert config.amqp_url == "amqp://guest:guest@localhost:5672/"
    assert config.redis_url == "redis://localhost:6379/0"
    assert config.result_expires_s == 86_400


def test_every_fault_is_told_at_once():
    with pytest.raises(ConfigurationError) as caught:
        WorkerConfig.from_env(
            {
                "AMQP_URL": "http://x",
                "REDIS_URL_FILE": "/does/not/exist",
                "RESULT_EXPIRES_S": "0",
                "MAX_RESULT_BYTES": "²",
            }
        )

    assert [fault.split()[0] for fault in caught.value.faults] == [
        "AMQP_URL", "REDIS_URL_FILE:", "RESULT_EXPIRES_S=0", "MAX_RESULT_BYTES=²"
    ]  # fmt: skip


def test_how_much_is_sent_ahead_is_for_the_deployment_to_say():
    config = WorkerConfig.from_env({"PREFETCH_MULTIPLIER": "8"})

    assert build_app(config, load()).conf.worker_prefetch_multiplier == 8
    assert build_app(WorkerConfig(), load()).conf.worker_prefetch_multiplier == 1


def test_a_loop_may_be_held_for_a_fraction_of_a_second():
    assert WorkerConfig.from_env({}).blocked_loop_s == 1
    assert WorkerConfig.from_env({"BLOCKED_LOOP_S": "0.5"}).blocked_loop_s == 0.5
    assert WorkerConfig.from_env({"BLOCKED_LOOP_S": "0"}).blocked_loop_s == 0
    for wrong in ("-1", ".5", "1e3", "inf", "1234567"):
        with pytest.raises(ConfigurationError, match="BLOCKED_LOOP_S"):
            WorkerConfig.from_env({"BLOCKED_LOOP_S": wrong})


def test_a_url_is_not_shown():
    config = WorkerConfig.from_env({"AMQP_URL": "amqps://user:secret@host/vhost"})

    assert "secret" not in repr(config)


def test_the_environment_wins_over_what_make_run_wrote(tmp_path: Path):
    (tmp_path / ".devstack").mkdir()
    (tmp_path / ".devstack" / "env").write_text(
        "# comment\nAMQP_URL=amqp://a=b/\nREDIS_URL=redis://r\n"
    )
    env = with_devstack({"REDIS_URL": "redis://mine"}, tmp_path)

    assert env == {"AMQP_URL": "amqp://a=b/", "REDIS_URL": "redis://mine"}
    assert with_devstack({"X": "1"}, tmp_path / "elsewhere") == {"X": "1"}
    assert with_devstack({"AMQP_URL_FILE": "f"}, tmp_path) == {
        "AMQP_URL_FILE": "f",
        "REDIS_URL": "redis://r",
    }
