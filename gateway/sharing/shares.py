"""Fair shares of what is bounded: in flight at RabbitMQ, and bodies held in memory. Pure.

    less than half is taken         everybody may take more
    more, by one tenant alone       up to the bound
    more, by several                each up to bound / tenants: who holds more is refused first

A tenant that comes late finds what another filled alone: within its share it may go beyond the
bound, by a quarter of it over all.
"""

from typing import Final

_BEYOND: Final = 4
"""One part in so many of the bound may be taken beyond it."""


def within_share(amount: int, held: int, total: int, bound: int, tenants: int) -> bool:
    """Return whether a tenant may take more of something.

    Args:
        amount: What it wants.
        held: What it has.
        total: What all have.
        bound: What all may have.
        tenants: How many have some, this one included.
    """
    total += amount
    if tenants <= 1:
        return total <= bound
    if total * 2 <= bound:
        return True
    if held and held + amount > bound // tenants:
        return False
    return total <= bound + bound // _BEYOND


class _Holding:
    """What one tenant has in flight."""

    __slots__ = ("count", "size")

    def __init__(self) -> None:
        self.count = 0
        self.size = 0


class Shares:
    """Messages and their octets per tenant; a tenant without any costs nothing."""

    def __init__(self) -> None:
        self._holdings: dict[str, _Holding] = {}
        self._count = 0
        self._size = 0

    def __repr__(self) -> str:
        return f"<Shares of {len(self._holdings)} tenants, {self._count} messages, {self._size} B>"

    def take(self, tenant: str, size: int) -> None:
        """Count one more message of so many octets."""
        holding = self._holdings.get(tenant)
        if holding is None:
            holding = self._holdings[tenant] = _Holding()
        holding.count += 1
        holding.size += size
        self._count += 1
        self._size += size

    def give_back(self, tenant: str, size: int) -> None:
        """Count it no more: it has ended."""
        holding = self._holdings[tenant]
        holding.count -= 1
        holding.size -= size
        self._count -= 1
        self._size -= size
        if not holding.count:
            del self._holdings[tenant]

    def admit(self, tenant: str, size: int, max_count: int, max_size: int) -> bool:
        """Return whether a tenant may have one more message of so many octets."""
        holding = self._holdings.get(tenant) or _NOTHING
        tenants = len(self._holdings) + (holding is _NOTHING)
        return within_share(1, holding.count, self._count, max_count, tenants) and within_share(
            size, holding.size, self._size, max_size, tenants
        )

    def has_room(self, tenant: str, size: int, max_count: int, max_size: int) -> bool:
        """Return whether that would leave half of its share free, among several tenants."""
        holding = self._holdings.get(tenant) or _NOTHING
        tenants = len(self._holdings) + (holding is _NOTHING)
        return (
            tenants > 1
            and (holding.count + 1) * 2 * tenants <= max_count
            and (not holding.size or (holding.size + size) * 2 * tenants <= max_size)
            and self.admit(tenant, size, max_count, max_size)
        )


_NOTHING: Final = _Holding()
