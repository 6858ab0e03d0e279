"""What the database holds."""

from django.db import models


class Order(models.Model):
    """An order."""

    amount = models.IntegerField()
    confirmed = models.BooleanField(default=False)

    def __str__(self) -> str:
        """Return what it is worth."""
        return f"order of {self.amount}"
