"""Which of several history processes writes: the one that holds the lease in MongoDB."""

import secrets
from datetime import UTC, datetime, timedelta

from pymongo.errors import DuplicateKeyError

from history.database import Database
from penstock.looper import Looper, plain_line

LEASE_S = 6.0
RENEW_S = 1.5
_ID = "writer"


class Lease:
    """The right to write.

    Args:
        database: where it is kept.
        expected: what a turn raises while MongoDB is away.
    """

    def __init__(self, database: Database, expected: tuple[type[BaseException], ...]) -> None:
        self._positions = database.positions
        self.owner = secrets.token_hex(8)
        """This process."""
        self._until: datetime | None = None
        self.elsewhere = False
        """Whether another process had it when it was looked at last."""
        self.looper = Looper(
            "lease",
            self.renew,
            interval_s=RENEW_S,
            deadline_s=5.0,
            expected=expected,
            tell=plain_line,
        )

    def __repr__(self) -> str:
        """Say whether it is held."""
        return f"<Lease {'held' if self.held else 'not held'}>"

    @property
    def held(self) -> bool:
        """Whether this process may write. Two that both do lose nothing: see `writer`."""
        return self._until is not None and datetime.now(UTC) < self._until

    async def renew(self) -> None:
        """Take the lease, or keep it, unless another process has it.

        Raises:
            PyMongoError: MongoDB is away.
        """
        now = datetime.now(UTC)
        until = now + timedelta(seconds=LEASE_S)
        try:
            await self._positions.update_one(
                {"_id": _ID, "$or": [{"owner": self.owner}, {"until": {"$lt": now}}]},
                {"$set": {"owner": self.owner, "until": until}},
                upsert=True,
            )
        except DuplicateKeyError:
            self._until, self.elsewhere = None, True
        else:
            self._until, self.elsewhere = until, False

    async def release(self) -> None:
        """Let another process have it at once.

        Raises:
            PyMongoError: MongoDB is away.
        """
        self._until = None
        await self._positions.delete_one({"_id": _ID, "owner": self.owner})
