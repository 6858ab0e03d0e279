"""One URL for all hosts of a cluster: read once, for every process."""

import pytest

from gateway.config import ConfigError, GatewayConfig
from penstock.wire.hosts import each_host, faults, printable, rotated, shuffled, vhost_of
from penstock.worker.app import Penstock
from penstock.worker.errors import ConfigurationError
from penstock.worker.tls import broker_settings
from tasks.config import WorkerConfig
from topology.settings import Settings, SettingsError

CLUSTER = "amqp://u%2C:p%40@a.example:5672,b.example,[::1]:5673/v%2Fh?heartbeat=7"


def test_each_host_has_the_credentials_and_the_rest():
    assert each_host(CLUSTER) == (
        "amqp://u%2C:p%40@a.example:5672/v%2Fh?heartbeat=7",
        "amqp://u%2C:p%40@b.example/v%2Fh?heartbeat=7",
        "amqp://u%2C:p%40@[::1]:5673/v%2Fh?heartbeat=7",
    )
    assert each_host("amqp://u,v:p@one/") == ("amqp://u,v:p@one/",)


def test_virtual_host_and_hosts_are_those_of_all():
    assert vhost_of(CLUSTER) == "v/h"
    assert vhost_of("amqp://a,b") == "/"
    assert printable(CLUSTER) == "a.example:5672,b.example,[::1]:5673"


def test_every_process_tries_them_in_an_order_of_its_own():
    orders = {tuple(shuffled(CLUSTER)) for _ in range(200)}

    assert len(orders) > 1
    assert all(sorted(order) == sorted(each_host(CLUSTER)) for order in orders)
    assert rotated(["a", "b", "c"]) == ["b", "c", "a"]


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("amqp://u:secret@a;amqp://u:secret@b", "is one URL, whose hosts have commas"),
        ("amqp://u:secret@a,amqp://u:secret@b", "is one URL, whose hosts have commas"),
        ("amqp://u:secret@a,,b/", "a host is missing beside a comma in 'a,,b'"),
        ("amqp://u:secret@a:1,b:x/", "no port from 0 to 65535 behind the colon of 'b:x'"),
        ("amqp://u:secret@a:1,b:2,a:1/", "a host is there twice in 'a:1,b:2,a:1'"),
    ],
)
def test_what_no_process_can_use_is_a_fault_of_all(url: str, fault: str):
    (said,) = faults("AMQP_URL", url)

    assert said.startswith("AMQP_URL")
    assert fault in said
    for read, error in (
        (GatewayConfig.from_env, ConfigError),
        (WorkerConfig.from_env, ConfigurationError),
        (Settings.from_env, SettingsError),
    ):
        with pytest.raises(error) as raised:
            read({"AMQP_URL": url})
        assert fault in str(raised.value)
        assert "secret" not in str(raised.value)


def test_workers_have_a_url_for_each_host():
    settings = broker_settings(CLUSTER)

    assert sorted(settings["broker_url"]) == sorted(each_host(CLUSTER))
    assert broker_settings("amqp://a/")["broker_url"] == "amqp://a/"


@pytest.mark.parametrize("pooled", [False, True])
def test_a_certificate_is_checked_for_the_name_of_the_host_at_hand(pooled: bool):
    app = Penstock("hosts", broker="amqps://localhost:1;amqps://other.example:2")
    app.conf.update(broker_use_ssl=broker_settings("amqps://a,b/")["broker_use_ssl"])
    connection = app.connection_for_read()
    if pooled:
        connection = connection.Pool(1).acquire()
    asked: list[str] = []

    class Refusing:
        def __init__(self, *, ssl: dict[str, str], **_: object) -> None:
            asked.append(ssl["server_hostname"])
            raise ConnectionRefusedError

    for _ in range(4):
        connection.transport.Connection = Refusing
        with pytest.raises(ConnectionRefusedError):
            connection._establish_connection()
        connection.maybe_switch_next()

    assert asked == ["localhost", "other.example"] * 2
