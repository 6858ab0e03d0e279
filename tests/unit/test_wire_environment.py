"""Settings in variables and files: one reading for the gateway, the workers and the topology."""

from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

import history.config
from gateway.config import ConfigError, GatewayConfig
from penstock.wire.environment import Environment
from penstock.worker.errors import ConfigurationError
from tasks.config import WorkerConfig
from topology.settings import Settings, SettingsError

URL = "amqps://user:secret@host/vhost"


def url(environ: Mapping[str, str]) -> tuple[str, list[str]]:
    environment = Environment(environ)
    return environment.url("A_URL", "amqp://default", "amqp", "amqps"), environment.faults


def written(path: Path, content: bytes) -> str:
    path.write_bytes(content)
    return str(path)


def test_a_setting_stands_in_its_variable_or_in_a_file(tmp_path: Path):
    file = written(tmp_path / "secret", f"  {URL}\n\n".encode())

    assert url({"A_URL": f" {URL}\n"}) == (URL, [])
    assert url({"A_URL_FILE": file}) == (URL, [])
    assert url({"A_URL": "", "A_URL_FILE": file}) == (URL, [])
    marked = written(tmp_path / "marked", b"\xef\xbb\xbf" + URL.encode())
    assert url({"A_URL_FILE": marked}) == (URL, [])
    assert url({"A_URL": " ", "A_URL_FILE": file}) == (URL, [])
    assert url({"A_URL": URL, "A_URL_FILE": ""}) == (URL, [])


def test_what_is_empty_is_unset(tmp_path: Path):
    empty = written(tmp_path / "empty", b" \n")

    for environ in ({}, {"A_URL": ""}, {"A_URL": " \n"}, {"A_URL_FILE": ""}, {"A_URL_FILE": empty}):
        assert url(environ) == ("amqp://default", [])


@pytest.mark.parametrize(
    ("environ", "fault"),
    [
        ({"A_URL": URL, "A_URL_FILE": "f"}, "A_URL and A_URL_FILE are both set"),
        ({"A_URL_FILE": "no"}, "A_URL_FILE: no cannot be read: No such file or directory"),
        ({"A_URL_FILE": "/"}, "A_URL_FILE: / cannot be read: Is a directory"),
        ({"A_URL": "secret"}, "A_URL must begin with amqp:// or amqps://"),
        ({"A_URL": "http://u:secret@x"}, "A_URL must begin with amqp:// or amqps://"),
        (
            {"A_URL": "amqp://u:x@a,b:y"},
            "A_URL has no port from 0 to 65535 behind the colon of 'b:y'",
        ),
        (
            {"A_URL": "amqp://u:secret"},
            "A_URL has no port from 0 to 65535 behind the colon of a host",
        ),
        ({"A_URL": "amqp://x?cafile=/no"}, "A_URL has cafile, which needs amqps://"),
    ],
)
def test_a_fault_names_the_setting_and_not_its_secret(environ: dict[str, str], fault: str):
    _, faults = url(environ)

    assert faults == [fault]


def test_a_file_that_is_no_text_is_a_fault(tmp_path: Path):
    file = written(tmp_path / "bytes", b"\xff\xfe")

    assert url({"A_URL_FILE": file})[1] == [f"A_URL_FILE: {file} is not UTF-8 text"]


def test_numbers_have_bounds_and_ascii_digits():
    environment = Environment({"A": "7", "B": "0", "C": "²", "D": "٣", "E": "99", "F": ""})
    numbers = [environment.number(name, 5, 1, 9) for name in "ABCDEF"]

    assert numbers == [7, 5, 5, 5, 5, 5]
    assert [fault.partition("=")[0] for fault in environment.faults] == ["B", "C", "D", "E"]


@pytest.mark.parametrize(
    ("read", "error"),
    [
        (GatewayConfig.from_env, ConfigError),
        (WorkerConfig.from_env, ConfigurationError),
        (Settings.from_env, SettingsError),
    ],
)
def test_every_process_reads_its_settings_so(
    read: Callable[[Mapping[str, str]], GatewayConfig | WorkerConfig | Settings],
    error: type[Exception],
    tmp_path: Path,
):
    file = written(tmp_path / "secret", f"{URL}\n".encode())

    assert read({"AMQP_URL": " ", "AMQP_URL_FILE": file}).amqp_url == URL
    with pytest.raises(error, match="AMQP_URL and AMQP_URL_FILE are both set"):
        read({"AMQP_URL": URL, "AMQP_URL_FILE": file})


@pytest.mark.parametrize("read", [GatewayConfig.from_env, history.config.HistoryConfig.from_env])
def test_an_address_of_ipv6_may_stand_in_brackets(
    read: Callable[[Mapping[str, str]], GatewayConfig | history.config.HistoryConfig],
):
    config = read({"GATEWAY_HOST": "[::1]", "HISTORY_HOST": "[::1]"})
    assert config.host == "::1"
    assert config.loopback


@pytest.mark.parametrize(
    ("name", "scheme", "read", "error"),
    [
        ("AMQP_URL", "amqp", GatewayConfig.from_env, ConfigError),
        ("AMQP_URL", "amqps", Settings.from_env, SettingsError),
        ("REDIS_URL", "redis", WorkerConfig.from_env, ConfigurationError),
        ("REDIS_URL", "rediss", GatewayConfig.from_env, ConfigError),
        ("MONGO_URL", "mongodb", history.config.HistoryConfig.from_env, history.config.ConfigError),
        ("MONGO_URL", "mongodb", WorkerConfig.from_env, ConfigurationError),
        ("RABBITMQ_MANAGEMENT_URL", "http", GatewayConfig.from_env, ConfigError),
    ],
)
def test_a_password_that_is_not_encoded_is_a_fault_that_shows_no_piece_of_it(
    name: str, scheme: str, read: Callable[[Mapping[str, str]], object], error: type[Exception]
):
    read({name: f"{scheme}://u:p%40shh%3Aw%2Frd%231@host:1/x"})
    for rest in (
        "u:p@shh:w/rd#1@host", "u:shh/w@host", "u:shh#w@host", "u:shh?w@host", "u:[shh@host",
        "u:s hh@host", "u:shh", "u:w @shh",
    ):  # fmt: skip
        with pytest.raises(error, match=name) as raised:
            read({name: f"{scheme}://{rest}"})
        assert "hh" not in str(raised.value)
