from penstock.worker.app import Penstock as Penstock
from penstock.worker.errors import PermanentError as PermanentError
from penstock.worker.errors import RetryableError as RetryableError
from penstock.worker.running.context import TaskContext as TaskContext

VERSION: str
