"""Celery's application, with settings of the namespace CELERY in Django's."""

import os

import penstock
from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "proj.settings")

app = Celery("proj")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
penstock.install(app)  # leave it out, and a gateway serves the application as it is
