"""Tasks of this Django application: Celery finds them, and `penstock describe` does."""

import penstock
from celery import shared_task

from orders.models import Order


@shared_task
def price(amount: int, discount: float = 0.0) -> float:
    """Price an order."""
    return amount * (1 - discount)


@shared_task
def confirm(order_id: int) -> str:
    """Confirm an order that is in the database."""
    order = Order.objects.get(pk=order_id)
    penstock.progress(1, 2, "found")
    order.confirmed = True
    order.save()
    return f"order {order.pk} confirmed"
