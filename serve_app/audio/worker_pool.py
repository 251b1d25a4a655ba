"""A pool of processes that decode uploads, each replaced when it ends."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
import weakref
from collections import deque
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import serve_app
from serve_app.errors import InvalidAudio, InvalidRequest

_ROOT = Path(serve_app.__file__).parent.parent
_KEPT_VARIABLES = ("PATH", "LANG", "LD_LIBRARY_PATH")  # no key or token reaches a worker
_WAIT_FACTOR = 10  # of seconds on the clock to seconds of CPU, for a worker that hangs


class WorkerEnded(Exception):
    """The process ended before it answered."""


class WorkerPool:
    """Runs jobs in at most `size` processes of the program `module`, started when needed.

    niceness: of the processes, and their first argument; 19 leaves the CPU to all others;
    arguments: further ones.
    """

    def __init__(
        self,
        size: int,
        niceness: int = 0,
        module: str = "serve_app.audio.worker",
        arguments: Sequence[str] = (),
    ) -> None:
        self._command = (module, str(niceness), *arguments)
        self._threads = ThreadPoolExecutor(size, thread_name_prefix="audio")
        self._idle = deque[_Worker]()

    async def run(self, job: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Run a job; return its answer and the bytes of samples. Cancelling ends its process.

        Raises InvalidAudio, also for a file that ended its process or exceeded its bounds, and
        InvalidRequest.
        """
        call = _Call(job, content)
        try:
            loop = asyncio.get_running_loop()
            answer, samples = await loop.run_in_executor(self._threads, self._run, call)
        except WorkerEnded as error:
            raise InvalidAudio(
                "The audio cannot be decoded: it is damaged, or takes too much memory or time"
            ) from error
        except asyncio.CancelledError:
            call.cancel()
            raise
        if "error" in answer:
            raise _error(answer)
        return answer, samples

    def pids(self) -> list[int]:
        """List the processes that wait for a job."""
        return [worker.process.pid for worker in list(self._idle)]

    def _run(self, call: "_Call") -> tuple[dict[str, Any], bytes]:
        worker = self._worker()
        answer = call.make(worker)
        if worker.end.alive:
            self._idle.append(worker)
        return answer

    def _worker(self) -> "_Worker":
        """Take an idle worker, or start one."""
        with contextlib.suppress(IndexError):
            while True:
                worker = self._idle.pop()
                if worker.process.poll() is None:
                    return worker
        return _Worker(self._command)


class _Call:
    """One job, which can be cancelled from another thread."""

    def __init__(self, job: Mapping[str, Any], content: bytes) -> None:
        self._job = job
        self._content = content
        self._lock = threading.Lock()
        self._worker: _Worker | None = None
        self._cancelled = False

    def make(self, worker: "_Worker") -> tuple[dict[str, Any], bytes]:
        """Let a worker do the job. Raises WorkerEnded."""
        with self._lock:
            self._worker = worker
        if self._cancelled:
            worker.end()
        timer = threading.Timer(_WAIT_FACTOR * self._job["max_cpu_s"], worker.end)
        timer.start()
        try:
            return worker.ask(self._job, self._content)
        finally:
            timer.cancel()
            with self._lock:
                self._worker = None

    def cancel(self) -> None:
        """End the worker that does the job."""
        with self._lock:
            self._cancelled = True
            if self._worker is not None:
                self._worker.end()


class _Worker:
    """One process."""

    def __init__(self, command: Sequence[str]) -> None:
        self.process = _start(command)
        self.end = weakref.finalize(self, _end, self.process)

    def ask(self, job: Mapping[str, Any], content: bytes) -> tuple[dict[str, Any], bytes]:
        """Send a job and wait for its answer. Raises WorkerEnded."""
        jobs = self.process.stdin
        answers = self.process.stdout
        if jobs is None or answers is None:
            raise WorkerEnded
        try:
            jobs.write(json.dumps({**job, "size": len(content)}).encode() + b"\n")
            jobs.write(content)
            jobs.flush()
            answer = json.loads(answers.readline() or b"null")
            samples = answers.read(answer["size"]) if answer else b""
        except (OSError, ValueError) as error:  # ValueError: ended meanwhile by another thread
            self.end()
            raise WorkerEnded from error
        if answer is None or len(samples) < answer["size"]:
            self.end()
            raise WorkerEnded
        return answer, samples


def _start(command: Sequence[str]) -> subprocess.Popen[bytes]:
    variables = {name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ}
    return subprocess.Popen(
        [sys.executable, "-m", *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=variables | {"PYTHONPATH": str(_ROOT), "OPENBLAS_NUM_THREADS": "1"},
        start_new_session=True,  # Ctrl-C in a terminal is the service's
    )


def _end(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            with contextlib.suppress(OSError):
                pipe.close()


def _error(answer: Mapping[str, Any]) -> InvalidRequest:
    if answer["error"] != InvalidAudio.code:
        return InvalidRequest(answer["message"])
    error = InvalidAudio(answer["message"])
    error.decoded_s = answer.get("decoded_s", 0.0)
    return error
