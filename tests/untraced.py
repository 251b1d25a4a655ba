"""Suspension of the measurement of coverage, which doubles the time of all Python code, where it has nothing to see."""

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar
from unittest.mock import patch

P = ParamSpec("P")
R = TypeVar("R")


def untraced(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a function that runs no measured code: an oracle, an interpreter."""

    @wraps(function)
    def run(*args: P.args, **kwargs: P.kwargs) -> R:
        tracer = sys.gettrace()
        if not type(tracer).__module__.startswith("coverage"):
            return function(*args, **kwargs)
        sys.settrace(None)
        try:
            return function(*args, **kwargs)
        finally:
            sys.settrace(tracer)

    return run


@contextmanager
def untraced_compilation() -> Iterator[None]:
    """Compile numba's functions without the measurement, whatever test calls them first."""
    from numba.core.dispatcher import Dispatcher

    with patch.object(Dispatcher, "compile", untraced(Dispatcher.compile)):
        yield
