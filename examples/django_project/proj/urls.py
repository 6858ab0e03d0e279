"""Where Django answers."""

from django.urls import path

from orders.views import take

urlpatterns = [path("orders/", take)]
