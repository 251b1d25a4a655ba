"""On-disk cache of the compiled kernels, valid for exactly the sources of this folder.

numba drops a cached kernel when the kernel's own file changes. A kernel also contains the compiled
code of the kernels that it calls, so the locators here stamp each entry with a digest of all files.
"""

import hashlib
from pathlib import Path
from typing import Any

import numba
from numba.core.caching import (
    InTreeCacheLocator,
    UserProvidedCacheLocator,
    UserWideCacheLocator,
)

_FOLDER = Path(__file__).parent
_OTHER_FUNCTIONS = (
    "UserProvidedCacheLocator,InTreeCacheLocator,UserWideCacheLocator,IPythonCacheLocator,"
    "ZipCacheLocator"
)


def sources_digest(folder: Path) -> str:
    """Return the SHA-256 of the names and contents of a folder's Python files."""
    digest = hashlib.sha256()
    for file in sorted(folder.glob("*.py")):
        source = file.read_bytes()
        digest.update(f"{file.name} {len(source)}\n".encode())
        digest.update(source)
    return digest.hexdigest()


SOURCES_DIGEST = sources_digest(_FOLDER)


class _KernelLocator:
    """Mixin for numba's locators: serve the functions of this folder, stamped by all its files."""

    def get_source_stamp(self) -> str:
        return SOURCES_DIGEST

    @classmethod
    def from_function(cls, function: Any, file: str) -> Any:
        """Return the locator of a kernel; None for other functions or an unwritable folder."""
        if Path(file).parent != _FOLDER:
            return None
        return super().from_function(function, file)  # type: ignore[misc]


class ProvidedLocator(_KernelLocator, UserProvidedCacheLocator):  # type: ignore[misc]
    """Caches in NUMBA_CACHE_DIR, if that is set."""


class PackageLocator(_KernelLocator, InTreeCacheLocator):  # type: ignore[misc]
    """Caches in this folder's `__pycache__`."""


class UserLocator(_KernelLocator, UserWideCacheLocator):  # type: ignore[misc]
    """Caches in the user's cache folder, where the package is not writable."""


def stamp_kernels() -> None:
    """Make numba cache this folder's kernels by these locators, and other functions as before."""
    kernels = (ProvidedLocator, PackageLocator, UserLocator)
    names = [f"{locator.__module__}.{locator.__qualname__}" for locator in kernels]
    others = numba.config.CACHE_LOCATOR_CLASSES or _OTHER_FUNCTIONS
    numba.config.CACHE_LOCATOR_CLASSES = ",".join([*names, others])
