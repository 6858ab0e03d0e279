"""One reading of `REDIS_URL`: a server, or the primary behind Sentinels."""

import pytest
from redis.connection import parse_url

from gateway.config import ConfigError, GatewayConfig
from penstock.wire.redis_url import latest, read, without_login
from penstock.worker.app import Penstock
from penstock.worker.errors import ConfigurationError
from tasks.config import WorkerConfig


def test_a_server_is_as_redis_py_reads_it():
    url = "rediss://user:p%2Fw@host:1/2?ssl_cert_reqs=none"

    assert read(url).server == url
    assert read(url).sentinels == ()


def test_sentinels_have_hosts_a_primary_and_a_login_each():
    found = read(
        "redis+sentinel://user:p%40%2F,%3A@one,two:1,[::1]:2/the%20primary/7"
        "?sentinel_password=s%2Fecret&sentinel_username=watcher&socket_keepalive=1"
    )

    assert found.sentinels == (("one", 26379), ("two", 1), ("::1", 2))
    assert found.primary == "the primary"
    assert found.sentinel_login == ("watcher", "s/ecret")
    server = parse_url(found.server)
    assert (server["username"], server["password"], server["db"]) == ("user", "p@/,:", 7)
    assert server["socket_keepalive"]
    assert "p%40" not in repr(found)
    assert "ecret" not in repr(found)


def test_tls_is_that_of_servers_and_sentinels():
    found = read("rediss+sentinel://:pw@one,two/main?ssl_ca_certs=/ca.pem")

    assert found.server == "rediss://:pw@one:26379/0?ssl_ca_certs=%2Fca.pem"
    assert parse_url(found.server)["ssl_ca_certs"] == "/ca.pem"


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("redis+cluster://:secret@a,b/0", r"Redis Cluster \(redis\+cluster://\) is not supported"),
        ("redis-cluster://:secret@a/0", "is not supported: use one primary, behind Sentinels"),
        ("sentinel://:secret@a:1;sentinel://b:1", r"write redis\+sentinel://host,host/primary"),
        ("redis+sentinel://:secret@a,b", "names no primary behind its hosts"),
        ("redis+sentinel://:secret@a,b/", "names no primary behind its hosts"),
        ("redis+sentinel://:secret@a,b/main/x", "something else than the number of a database"),
        ("redis+sentinel://:secret@a,,b/main", "a Sentinel that is no host"),
        ("redis+sentinel://:secret@a:b/main", "a Sentinel that is no host"),
        ("amqp://:secret@a", "must begin with redis:// or rediss://"),
        ("", "must begin with redis:// or rediss://"),
    ],
)
def test_what_is_not_supported_is_refused_at_the_start(url: str, fault: str):
    with pytest.raises(ValueError, match=fault) as raised:
        read(url)
    assert "secret" not in str(raised.value)
    if not url:
        return
    with pytest.raises(ConfigError, match=fault):
        GatewayConfig.from_env({"REDIS_URL": url})
    with pytest.raises(ConfigurationError, match=fault):
        WorkerConfig.from_env({"REDIS_URL": url})
    with pytest.raises(Exception, match=fault):
        _ = Penstock("app", backend=url).redis_url


def test_people_see_no_password():
    url = "redis+sentinel://user:pw@one,two:1/main/2?sentinel_password=secret"

    assert without_login(url) == "redis+sentinel://one,two:1/main/2"
    assert Penstock("app", backend=url).backend.as_uri() == without_login(url)


def test_the_sentinel_that_saw_the_last_failover_is_right():
    old = {"ip": "10.0.0.1", "port": "6379", "config-epoch": "3"}
    new = {"ip": "10.0.0.2", "port": "6380", "config-epoch": "10"}

    assert latest([old, new, old]) == ("10.0.0.2", 6380)
    assert latest([{}, old]) == ("10.0.0.1", 6379)
    assert latest([]) is None
