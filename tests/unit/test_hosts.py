"""Hosts and origins, as browsers write them and as nobody should."""

import pytest

from gateway.hosts import is_loopback, is_own, matches, split_host


@pytest.mark.parametrize(
    "host",
    [
        "localhost", "localhost:8080", "LocalHost:1", "localhost.", "app.localhost",
        "a.b.localhost:80",
        "127.0.0.1", "127.0.0.1:8080", "127.255.1.2", "[::1]", "[::1]:8080", "[0:0:0:0:0:0:0:1]",
        "localhost:",
    ],
)  # fmt: skip
def test_names_of_this_machine_are_loopback(host: str):
    found = split_host(host)

    assert found is not None
    assert is_loopback(found[0])


@pytest.mark.parametrize(
    "host",
    [
        "", " ", ":80", "evil.example", "localhost.evil.example", "evil-localhost", ".localhost",
        "a..localhost", "127.0.0.1.evil.example", "127.example", "127.1", "2130706433",
        "0x7f.0.0.1",
        "0177.0.0.1", "127.0.0.01", "0.0.0.0", "10.0.0.1", "[::ffff:127.0.0.1]", "[::]", "[::2]",
        "[::1", "::1", "::1:80", "[::1%lo]", "[localhost]", "user@localhost", "localhost@evil",
        "localhost/", "localhost#", "localhost?a", "localhost\\", "localhost, evil", "localhost:x",
        "localhost:80:80", "localhost:123456", "localhost\x00", "localhost\u2024", "ⓛocalhost",
        "127。0。0。1",
        "localhost..", "http://localhost",
    ],
)  # fmt: skip
def test_whatever_else_is_not(host: str):
    found = split_host(host)

    assert found is None or not is_loopback(found[0])


@pytest.mark.parametrize(
    ("host", "patterns", "expected"),
    [
        ("app.example:8080", ("app.example",), True),
        ("APP.example.", ("app.example",), True),
        ("a.app.example", ("app.example",), False),
        ("a.app.example", ("*.app.example",), True),
        ("app.example", (), False),
        ("[fe80::1]", ("[fe80::1]",), True),
    ],
)
def test_other_hosts_are_those_of_the_patterns(host, patterns, expected):
    found = split_host(host)

    assert found is not None
    assert matches(found[0], patterns) is expected


@pytest.mark.parametrize(
    ("origin", "host", "expected"),
    [
        ("http://localhost:8080", "localhost:8080", True),
        ("https://localhost:8080", "localhost:8080", True),  # behind a proxy that ends TLS
        ("http://LOCALHOST:8080", "localhost:8080", True),
        ("http://app.example", "app.example", True),
        ("http://app.example", "app.example:80", True),
        ("https://app.example", "app.example:443", True),
        ("http://[::1]:8080", "[::1]:8080", True),
        ("https://app.example", "app.example:80", False),
        ("http://localhost:3000", "localhost:8080", False),
        ("http://localhost", "localhost:8080", False),
        ("http://127.0.0.1:8080", "localhost:8080", False),
        ("http://a.localhost:8080", "localhost:8080", False),
        ("null", "localhost:8080", False),
        ("null", "null", False),
        ("", "", False),
        ("http://", "", False),
        ("http://[", "[", False),
        ("localhost:8080", "localhost:8080", False),
        ("//localhost:8080", "localhost:8080", False),
        ("http://u@localhost:8080", "localhost:8080", False),
        ("http://localhost:8080/x", "localhost:8080", False),
        ("http://localhost:8080 http://evil", "localhost:8080", False),
        ("file://", "localhost", False),
    ],
)
def test_a_page_is_our_own_by_name_and_port(origin, host, expected):
    assert is_own(origin, host) is expected
