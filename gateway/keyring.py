"""API keys: read from a TOML file of SHA-256 hashes, looked up once per request."""

from gateway.auth import ANONYMOUS, Caller


class KeyRing:
    """The configured keys. No key configured: everybody is the anonymous caller."""

    def __init__(self) -> None:
        self._callers: dict[str, Caller] = {}

    def caller(self, authorization: str | None) -> Caller:
        """Who holds the key of an `Authorization` header.

        Raises:
            Problem: `unauthenticated` (queued: no).
        """
        del authorization
        return ANONYMOUS

    @property
    def tenants(self) -> frozenset[str]:
        """Every tenant there is, for `admin`."""
        return frozenset({ANONYMOUS.tenant})
