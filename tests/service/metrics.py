"""Metrics of the running service, as Ray exports them."""

import os

import httpx
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Sample

from serve_app.launcher import Service
from tests.service.conftest import PATIENCE_S


async def samples(service: Service, name: str) -> list[Sample]:
    """Read the samples of one metric, of all nodes."""
    found: list[Sample] = []
    token = {"authorization": f"Bearer {os.environ['RAY_AUTH_TOKEN']}"}
    async with httpx.AsyncClient(timeout=PATIENCE_S, headers=token) as client:
        places = (await client.get(f"{service.dashboard_url}/api/prometheus/sd")).json()
        for target in [target for place in places for target in place["targets"]]:
            try:
                text = (await client.get(f"http://{target}/metrics")).text
            except httpx.TransportError:  # Ray has just started
                continue
            families = text_string_to_metric_families(text)
            found += [
                one for family in families for one in family.samples if one.name == f"ray_{name}"
            ]
    return found
