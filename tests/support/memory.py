"""How much memory Python takes for something."""

import gc
import tracemalloc
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def most_held() -> Iterator[Callable[[], int]]:
    """Give a function that returns how many octets were held at most, beyond those held before."""
    gc.collect()
    tracemalloc.start()
    try:
        yield lambda: tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
