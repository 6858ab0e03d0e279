"""Bodies and documents that requests hold in memory until they can be published: fairly bounded."""

from gateway.errors import Problem
from gateway.sharing.shares import within_share


class HeldBytes:
    """Counts octets per tenant.

    Args:
        max_bytes: Bound over all requests of this process.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._held: dict[str, int] = {}
        self.total = 0
        """Octets held now."""

    def __repr__(self) -> str:
        return f"<HeldBytes {self.total} of {self._max_bytes} B, {len(self._held)} tenants>"

    def hold(self, tenant: str, size: int) -> None:
        """Count octets that a request holds.

        Args:
            tenant: Whose request it is.
            size: Octets; negative: no longer held.

        Raises:
            Problem: `overloaded` (queued: no).
        """
        held = self._held.get(tenant, 0)
        if size > 0:
            tenants = len(self._held) + (not held)
            if not within_share(size, held, self.total, self._max_bytes, tenants):
                raise Problem(
                    "overloaded",
                    "requests hold too many bytes in memory at the moment",
                    queued="no",
                )
        self.total += size
        if held + size:
            self._held[tenant] = held + size
        else:
            self._held.pop(tenant, None)
