"""Many callers that come while the ingress stands still, so that it finds them all at once."""

import asyncio
from time import monotonic

import httpx
import psutil

from tests.service.conftest import PATIENCE_S

BURST = 300  # callers
NOTICED_S = 4.0  # before Serve's HAProxy notices that an ingress replica does not answer


def connections(process: psutil.Process) -> int:
    """Count the connections to the process's ports, those that it has not accepted included."""
    own = process.net_connections("tcp")
    ports = {one.laddr.port for one in own if one.laddr and one.status == psutil.CONN_LISTEN}
    return sum(
        one.status == psutil.CONN_ESTABLISHED and one.laddr.port in ports
        for one in psutil.net_connections("tcp")
        if one.laddr
    )


async def burst(door: str, process: psutil.Process) -> list[httpx.Response]:
    """Send requests that the ingress finds all at once; return their answers."""
    limits = httpx.Limits(max_connections=BURST)
    async with httpx.AsyncClient(base_url=door, timeout=PATIENCE_S, limits=limits) as callers:
        process.suspend()
        try:
            calls = [asyncio.create_task(callers.get("/v1/models")) for _ in range(BURST)]
            deadline = monotonic() + NOTICED_S
            while connections(process) < BURST and monotonic() < deadline:  # noqa: ASYNC110
                await asyncio.sleep(0.1)
        finally:
            process.resume()
        return await asyncio.gather(*calls)
