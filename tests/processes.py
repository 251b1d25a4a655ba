"""Processes of a Ray, of which any may end while a test lists them."""

from collections.abc import Iterable

import psutil


def command_line(process: psutil.Process) -> list[str]:
    """Return the words of a process's command line; none of one that has ended."""
    try:
        words: list[str] = process.cmdline()
    except psutil.Error:
        return []
    return words


def titled(processes: Iterable[psutil.Process], title: str) -> list[psutil.Process]:
    """List the living processes whose title, the first word, contains `title`."""
    return [one for one in processes if title in "".join(command_line(one)[:1])]


def raylet_option(processes: Iterable[psutil.Process], name: str) -> str:
    """Return the value of an option of the one raylet among these processes."""
    [raylet] = [one for one in titled(processes, "raylet") if _names(one, name)]
    [value] = [word.partition("=")[2] for word in command_line(raylet) if word.startswith(name)]
    return value


def _names(process: psutil.Process, option: str) -> bool:
    return any(word.startswith(option) for word in command_line(process))
