from penstock.worker.app import Penstock as Penstock
from penstock.worker.errors import PermanentError as PermanentError
from penstock.worker.errors import RetryableError as RetryableError
from penstock.worker.installing import install as install
from penstock.worker.running.context import TaskContext as TaskContext
from penstock.worker.running.reports import log as log
from penstock.worker.running.reports import progress as progress

VERSION: str
