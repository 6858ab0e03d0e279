"""celery-fastapi: endpoints made from the tasks of a Celery application."""

from celery_fastapi import create_app

from bench.apps.celery_app import app as celery

app = create_app(celery)
