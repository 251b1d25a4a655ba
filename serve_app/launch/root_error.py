"""The error at the root of a traceback, in the few words that people need."""

import re

_ANSI = re.compile(r"\x1b\[[0-9;]*m")
_FRAME = re.compile(r'^\s+File "[^"]*", line \d+')
_RAISED = re.compile(r"^([A-Za-z_][\w.]*)(?:: (.*))?$")
_LOG_LINE = re.compile(r"^(\(\w+ pid=|\(autoscaler|([A-Z]+ )?\d{4}-\d\d-\d\d )")
_ADVERT = "For further information visit"  # of pydantic
_OWN = "serve_app.errors."
_MOST_LINES = 8
_MOST_CHARS = 1000


def root_error(text: str) -> str:
    """Return the last error of `text`, which may hold tracebacks, without these.

    Messages of this package's errors are for people and stand alone; others keep the error's name, without its module.
    Text without a traceback is shortened only: lines that begin with a tab are Ray's ids of a dead actor.
    """
    lines = strip_ansi(text).strip().splitlines()
    frames = [number for number, line in enumerate(lines) if _FRAME.match(line)]
    if not frames:
        return _shortened(lines)
    rest = lines[frames[-1] + 1 :]
    while rest and (rest[0].startswith("    ") or not rest[0].strip()):  # source of the frame
        rest.pop(0)
    return _shortened(_renamed(rest)) if rest else _shortened(lines[-1:])


def last_error(log: str) -> str | None:
    """Return the error of the last traceback in the output of a process; None: it has no traceback."""
    lines = strip_ansi(log).splitlines()
    starts = [number for number, line in enumerate(lines) if line.startswith("Traceback (")]
    if not starts:
        return None
    rest = lines[starts[-1] :]
    end = next((number for number, line in enumerate(rest) if _LOG_LINE.match(line)), len(rest))
    return root_error("\n".join(rest[:end]))


def strip_ansi(text: str) -> str:
    """Remove the escape sequences of colours."""
    return _ANSI.sub("", text)


def _renamed(lines: list[str]) -> list[str]:
    found = _RAISED.match(lines[0])
    if found is None:
        return lines
    name, message = found[1], found[2] or ""
    if name.startswith(_OWN) and message:
        return [message, *lines[1:]]
    kind = name.rpartition(".")[2]
    return [f"{kind}: {message}" if message else kind, *lines[1:]]


def _shortened(lines: list[str]) -> str:
    kept = [line for line in lines if not line.startswith("\t") and _ADVERT not in line]
    text = "\n".join(kept[:_MOST_LINES]).rstrip()
    return text if len(text) <= _MOST_CHARS else f"{text[:_MOST_CHARS]} ..."
