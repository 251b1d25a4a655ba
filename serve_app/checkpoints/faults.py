"""Errors of other packages while they read a checkpoint, as `CheckpointError`."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from serve_app.errors import CheckpointError

_LONGEST_REASON = 300  # characters; some packages quote whole configurations


@contextmanager
def faults_named(file: Path, what: str, cure: str) -> Iterator[None]:
    """Turn any error inside, but a CheckpointError, into one that names file, reason and cure.

    It is meant for single calls of other packages on a checkpoint's data. Their errors have no
    common class: tokenizers raises bare `Exception`, unpickling anything.
    """
    try:
        yield
    except CheckpointError:
        raise
    except Exception as error:
        raise CheckpointError(f"{file}: {what} ({_reason(error)}). {cure}") from error


@contextmanager
def unreadable_named(folder: Path) -> Iterator[None]:
    """Turn an error of the file system into a CheckpointError; files may lack permissions anywhere."""
    try:
        yield
    except OSError as error:
        raise CheckpointError(
            f"{error.filename or folder}: cannot be read ({_reason(error)}). Check the permissions "
            "of the file and its folders, and the disk."
        ) from error


def _reason(error: Exception) -> str:
    """The error in one line."""
    text = " ".join(str(error).split())[:_LONGEST_REASON]
    name = type(error).__name__
    return f"{name}: {text}" if text else name
