"""A private CA and a server's certificate for as long as a test runs, made by trustme."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import trustme

TLS_HOST = "localhost"
"""The only name in the certificate: who asks for 127.0.0.1 by number is to be refused."""


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

    def redis_lines(self) -> list[str]:
        """Return what Redis and its Sentinels are configured with."""
        return [
            f'tls-cert-file "{self.certificate}"',
            f'tls-key-file "{self.key}"',
            f'tls-ca-cert-file "{self.ca}"',
            "tls-auth-clients no",
        ]

    def query(self, parameter: str) -> str:
        """Return the CA as a parameter of a URL."""
        return f"{parameter}={quote(str(self.ca))}"


def make_certificates(folder: Path) -> Certificates:
    """Make a CA and a certificate by it.

    Args:
        folder: for the files; made when it does not exist.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(
        ca=folder / "ca.pem",
        certificate=folder / "server.pem",
        key=folder / "server.key",
        both=folder / "server-both.pem",
    )
    authority = trustme.CA()
    server = authority.issue_cert(TLS_HOST)
    authority.cert_pem.write_to_path(str(made.ca))
    server.cert_chain_pems[0].write_to_path(str(made.certificate))
    for secret in (made.key, made.both):
        secret.touch(mode=0o600)
    server.private_key_pem.write_to_path(str(made.key))
    made.both.write_bytes(made.certificate.read_bytes() + made.key.read_bytes())
    return made
