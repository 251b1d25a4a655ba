"""The C compiler that Triton builds a kernel's launcher with."""

import shutil
from os import environ

COMPILERS = ("gcc", "clang")


def finds_compiler() -> bool:
    """Return whether Triton finds one: that of the variable CC, or one on the path."""
    return any(map(shutil.which, (environ.get("CC", ""), *COMPILERS)))
