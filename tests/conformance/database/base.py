"""SQLite for Django, whose connections can be dead, as those to a server."""

from django.db import Error
from django.db.backends.sqlite3 import base


class DatabaseWrapper(base.DatabaseWrapper):  # type: ignore[misc]  # Django is not here
    """Asks whether a connection can be used, as the backends of servers do."""

    def is_usable(self):
        """Ask the database."""
        try:
            with self.wrap_database_errors:
                self.connection.execute("SELECT 1")
        except Error:
            return False
        return True
