"""What the URLs of servers say about TLS, and how Celery is told."""

import ssl
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from celery.exceptions import ImproperlyConfigured
from celery.signals import after_setup_logger

from gateway.config import ConfigError, GatewayConfig
from penstock import install
from penstock.redis_connections import pool_options
from penstock.wire.tls import faults, is_verified, refusal
from penstock.worker.errors import ConfigurationError
from penstock.worker.tls import broker_settings, redis_url, warn_when_unverified
from tasks.config import WorkerConfig
from topology.settings import Settings, SettingsError


@pytest.mark.parametrize(
    ("url", "fault"),
    [
        ("amqps://host/?cafile=/not/there", "cafile=/not/there cannot be read: No such file"),
        ("amqps://host/?cafile=", "cafile= cannot be read"),
        ("amqps://host/?keyfile=/", "keyfile=/ cannot be read: Is a directory"),
        ("rediss://host/0?ssl_ca_certs={empty}", "holds no certificates in PEM form"),
        ("mongodb://host/?tls=true&tlsCAFile={empty}", "holds no certificates in PEM form"),
        ("amqp://host/?cafile={empty}", "has cafile, which needs amqps://"),
        ("redis://host/0?ssl_cert_reqs=required", "has ssl_cert_reqs, which needs rediss://"),
        ("http://host/?cafile={empty}", "has cafile, which needs https://"),
        ("rediss://host/0?ssl_cert_reqs=CERT_NONE", "is one of required, optional, none"),
    ],
)
def test_what_can_never_work_is_a_fault(url: str, fault: str, tmp_path: Path):
    empty = tmp_path / "empty.pem"
    empty.touch()

    (told,) = faults("A_URL", url.format(empty=empty))

    assert told.startswith("A_URL")
    assert fault in told


def test_every_process_refuses_to_start_with_such_a_url():
    wrong = {"AMQP_URL": "amqps://user:secret@host/?cafile=/not/there"}

    for read, error in (
        (GatewayConfig.from_env, ConfigError),
        (WorkerConfig.from_env, ConfigurationError),
        (Settings.from_env, SettingsError),
    ):
        with pytest.raises(error, match="AMQP_URL: cafile=/not/there") as raised:
            read(wrong)
        assert "secret" not in str(raised.value)


def test_a_gateway_refuses_what_is_no_address_of_the_server():
    with pytest.raises(ConfigError) as raised:
        GatewayConfig.from_env(
            {"AMQP_URL": "http://x", "REDIS_URL": "amqp://x", "RABBITMQ_MANAGEMENT_URL": "x"}
        )

    assert [fault.split()[0] for fault in raised.value.faults] == [
        "AMQP_URL", "REDIS_URL", "RABBITMQ_MANAGEMENT_URL"
    ]  # fmt: skip


def test_workers_say_that_they_know_one_way_to_name_the_ca():
    with pytest.raises(ConfigurationError, match="not from capath or cadata"):
        WorkerConfig.from_env({"AMQP_URL": "amqps://host/?capath=/etc/ssl/certs"})


def test_celery_is_told_what_aio_pika_reads_from_the_same_url():
    url = (
        "amqps://u:p%40@host:5671/v%2Fh?cafile=/a%20b.pem&certfile=/c&keyfile=/k&name=x&heartbeat=7"
    )

    assert broker_settings(url) == {
        "broker_url": "amqps://u:p%40@host:5671/v%2Fh?heartbeat=7",
        "broker_use_ssl": {
            "ca_certs": "/a b.pem",
            "certfile": "/c",
            "keyfile": "/k",
            "cert_reqs": ssl.CERT_REQUIRED,
            "server_hostname": "host",
        },
    }


def test_a_certificate_and_its_name_are_checked_unless_the_url_says_no():
    checked = broker_settings("amqps://host")["broker_use_ssl"]
    unchecked = broker_settings("amqps://host?no_verify_ssl=1")["broker_use_ssl"]

    assert checked == {"cert_reqs": ssl.CERT_REQUIRED, "server_hostname": "host"}
    assert unchecked == {"cert_reqs": ssl.CERT_NONE}
    assert broker_settings("amqp://host")["broker_use_ssl"] is False


def test_celery_is_told_that_redis_is_checked():
    assert redis_url("rediss://host/0") == "rediss://host/0?ssl_cert_reqs=required"
    assert redis_url("rediss://host/0?a=b") == "rediss://host/0?a=b&ssl_cert_reqs=required"
    for as_it_is in ("redis://host/0", "rediss://host/0?ssl_cert_reqs=none"):
        assert redis_url(as_it_is) == as_it_is


@pytest.mark.parametrize(
    ("settings", "url"),
    [
        ({}, "redis://host/1"),
        ({"redis_password": "p@w"}, "redis://:p%40w@host/1"),
        ({"redis_username": "u", "redis_password": "p"}, "redis://u:p@host/1"),
        ({"result_backend": "redis://:own@host", "redis_password": "p"}, "redis://:own@host"),
        ({"result_backend": "redis://me@host", "redis_password": "p"}, "redis://me:p@host"),
        (
            {"redis_backend_use_ssl": {"ssl_cert_reqs": ssl.CERT_NONE}},
            "rediss://host/1?ssl_cert_reqs=none",
        ),
        (
            {"redis_backend_use_ssl": {"ssl_cert_reqs": "CERT_REQUIRED", "ssl_ca_certs": "/c a"}},
            "rediss://host/1?ssl_cert_reqs=required&ssl_ca_certs=%2Fc+a",
        ),
        (
            {
                "result_backend": "rediss://:p@host/0?ssl_cert_reqs=optional",
                "redis_backend_use_ssl": {"ssl_cert_reqs": "none", "ssl_keyfile": None},
            },
            "rediss://:p@host/0?ssl_cert_reqs=optional",
        ),
        (
            {
                "result_backend": "redis+sentinel://a,b/main",
                "redis_password": "p",
                "redis_backend_use_ssl": {"ssl_check_hostname": False},
            },
            "rediss+sentinel://:p@a,b/main?ssl_check_hostname=False&ssl_cert_reqs=required",
        ),
    ],
)
def test_the_backend_is_what_all_settings_of_an_app_say(settings: dict[str, Any], url: str):
    app = install(Celery(set_as_current=False))
    app.conf.update({"result_backend": "redis://host/1", **settings})

    assert app.redis_url == url
    # The clients beside Celery's backend are told by the URL alone.
    ours, theirs = pool_options(app.redis_url), app.backend.connparams
    for name in ("username", "password", "ssl_ca_certs"):
        assert ours.get(name) == theirs.get(name), name


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("redis_backend_use_ssl", {"ssl_context": object()}, "'ssl_context' in redis_backend_use"),
        ("redis_backend_use_ssl", True, "that is no mapping"),
        ("redis_backend_credential_provider", "a.B", "redis_backend_credential_provider, which"),
    ],
)
def test_what_no_url_can_say_is_refused_at_the_start(name: str, value: Any, words: str):
    app = install(Celery(set_as_current=False))
    app.conf.update({"result_backend": "redis://host/1", name: value})

    with pytest.raises(ImproperlyConfigured, match=words):
        _ = app.redis_url


def test_urls_that_switch_the_check_off_are_known():
    for url in (
        "amqps://host?no_verify_ssl=1",
        "amqps://host?no_verify_ssl",
        "rediss://host?ssl_cert_reqs=none",
        "rediss://host?ssl_check_hostname=False",
        "mongodb://host/?tls=true&tlsAllowInvalidCertificates=true",
        "mongodb://host/?tls=true&tlsInsecure=true",
    ):
        assert not is_verified(url), url
    assert is_verified("amqps://host?no_verify_ssl=0")
    assert is_verified("rediss://host?ssl_cert_reqs=required")
    config = GatewayConfig.from_env({"REDIS_URL": "rediss://host?ssl_cert_reqs=none"})
    assert config.unverified == ("REDIS_URL",)
    assert not WorkerConfig.from_env({"MONGO_URL": "mongodb://host/?tls=true"}).unverified


def test_a_worker_logs_that_it_checks_nothing_and_else_nothing(
    caplog: pytest.LogCaptureFixture,
):
    warn_when_unverified(())
    after_setup_logger.send(None)
    assert not caplog.messages

    warn_when_unverified(("AMQP_URL", "REDIS_URL"))
    try:
        after_setup_logger.send(None)
    finally:
        after_setup_logger.disconnect(dispatch_uid="unverified")
    assert caplog.messages == ["certificates not checked: AMQP_URL, REDIS_URL"]


def test_a_failure_of_tls_is_found_in_what_a_library_made_of_it():
    untrusted = ssl.SSLCertVerificationError("a certificate")
    untrusted.reason, untrusted.verify_message = "CERTIFICATE_VERIFY_FAILED", "unknown CA"
    wrapped = ConnectionError("no connection")
    wrapped.__context__ = untrusted

    assert refusal(wrapped) == "CERTIFICATE_VERIFY_FAILED: unknown CA"
    assert refusal(ssl.SSLEOFError("eof")) == "TLS"
    assert refusal(ConnectionError("refused")) == ""
    circle = ConnectionError("refused")
    circle.__cause__ = ConnectionError("because")
    circle.__cause__.__cause__ = circle
    assert refusal(circle) == ""
