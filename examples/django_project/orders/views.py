"""Orders come in by Django, too: it submits with Celery's own client, beside the gateway."""

from django.db import transaction
from django.http import HttpRequest, JsonResponse
from django.views.decorators.csrf import csrf_exempt
from django.views.decorators.http import require_POST

from orders.models import Order
from orders.tasks import confirm


@csrf_exempt
@require_POST
def take(request: HttpRequest) -> JsonResponse:
    """Store an order; it is confirmed once the transaction is committed."""
    with transaction.atomic():
        order = Order.objects.create(amount=int(request.POST["amount"]))
        confirm.delay_on_commit(order.pk)
    return JsonResponse({"order": order.pk})
