"""What `celery -A make_celery` and `penstock describe -A make_celery` load."""

from shop import create_app

flask_app = create_app()
celery_app = flask_app.extensions["celery"]
