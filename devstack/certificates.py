"""A private CA and a server's certificate for as long as a test runs, made by `openssl`."""

import ssl
import subprocess
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

TLS_HOST = "localhost"
"""The only name in the certificate: who asks for 127.0.0.1 by number is to be refused."""

_DAYS = "2"
_CONFIG = f"""\
[req]
distinguished_name = name
prompt = no
[name]
CN = Penstock, for a test
[ca]
basicConstraints = critical, CA:TRUE
keyUsage = critical, keyCertSign
[server]
basicConstraints = critical, CA:FALSE
subjectAltName = DNS:{TLS_HOST}
extendedKeyUsage = serverAuth
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificates:
    """Files in PEM form."""

    ca: Path
    """The certificate of the CA, for clients."""

    certificate: Path
    """Of the server, for `TLS_HOST`."""

    key: Path
    """Of the server."""

    both: Path
    """Certificate and key in one file, as mongod wants them."""

    def context(self) -> ssl.SSLContext:
        """Return what a client needs that trusts this CA only."""
        return ssl.create_default_context(cafile=self.ca)

    def query(self, parameter: str) -> str:
        """Return the CA as a parameter of a URL."""
        return f"{parameter}={quote(str(self.ca))}"


def make_certificates(folder: Path) -> Certificates:
    """Make a CA and a certificate by it.

    Args:
        folder: for the files; made when it does not exist.

    Raises:
        CalledProcessError: `openssl` failed.
        FileNotFoundError: there is no `openssl` (Debian's package of that name).
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "openssl.cnf"
    config.write_text(_CONFIG)
    made = Certificates(
        ca=folder / "ca.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        both=folder / "server-both.pem",
    )
    ca_key = folder / "ca.key"
    _make(config, "ca", made.ca, ca_key)
    _make(config, "server", made.certificate, made.key, "-CA", made.ca, "-CAkey", ca_key)
    made.both.touch(mode=0o600)
    made.both.write_text(made.certificate.read_text() + made.key.read_text())
    return made


def _make(config: Path, kind: str, certificate: Path, key: Path, *more: str | Path) -> None:
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1",
         "-nodes", "-days", _DAYS, "-config", config, "-extensions", kind,
         "-out", certificate, "-keyout", key, *more],
        check=True,
        capture_output=True,
    )  # fmt: skip
