"""The API over a generator without a model, in an HTTP server of its own thread, behind an API key."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn

from serve_app.api.app import JobMaker, create_api
from serve_app.config.api import ApiConfig
from serve_app.config.jobs import JobsConfig
from serve_app.config.provenance import ProvenanceConfig
from serve_app.jobs.observer import LogJobObserver
from serve_app.jobs.runtime import JobRuntime
from tests.fakes import LARGE, SMALL, FakeGenerator


@contextmanager
def served_api(
    generator: FakeGenerator,
    provenance: ProvenanceConfig | None = None,
    jobs: JobsConfig | None = None,
) -> Iterator[str]:
    """Yield the URL of a server that answers. The keys are those of the environment.

    jobs: with a store, or not enabled; None: there are no routes of jobs.
    """
    models = [SMALL, LARGE]
    runtime = None if jobs is None else JobRuntime.of(jobs, LogJobObserver())
    api = create_api(
        generator,
        generator,
        models,
        "small",
        ApiConfig(),
        provenance=provenance,
        jobs=_job_maker(runtime),
        beside=runtime.running() if isinstance(runtime, JobRuntime) else None,
    )
    listener = socket.create_server(("127.0.0.1", 0), backlog=2048)
    server = _Server(uvicorn.Config(api, log_level="error"))
    thread = threading.Thread(target=lambda: asyncio.run(server.serve([listener])))
    thread.start()
    try:
        assert server.ready.wait(timeout=120)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.end()
        thread.join()


def _job_maker(runtime: JobRuntime | str | None) -> JobMaker | None:
    """Build the service of jobs, or tell why there is none, as the ingress does."""
    if isinstance(runtime, str):
        reason = runtime
        return lambda *_: reason
    return None if runtime is None else runtime.service


class _Server(uvicorn.Server):
    """A server that ends at once: uvicorn's own looks every 100 ms whether it shall, then waits as long."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._ended = asyncio.Event()

    def end(self) -> None:
        self._loop.call_soon_threadsafe(self._ended.set)

    async def main_loop(self) -> None:
        self._loop = asyncio.get_running_loop()
        await self.on_tick(0)  # the `date` header
        self.ready.set()
        await self._ended.wait()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        del sockets
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.shutdown()
        await asyncio.sleep(0)  # idle connections close
        await self._wait_tasks_to_complete()
        await self.lifespan.shutdown()
