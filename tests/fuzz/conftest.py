"""A gateway in the fuzzer's own loop, as the integration tests have it."""

from tests.integration.conftest import gateway, make_gateway

__all__ = ["gateway", "make_gateway"]
