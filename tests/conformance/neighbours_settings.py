"""Django's settings."""

import os

SECRET_KEY = "of a test"
USE_TZ = True
DATABASES = {
    "default": {
        "ENGINE": "tests.conformance.database",
        "NAME": f"{os.environ['RUNS_FILE']}.sqlite3",
    }
}
