"""From a delivery to the pool: consumer, request, control, announcements."""
