"""Calls the service at the URL of its argument with Replicate's own client; prints what came back as JSON.

It runs in a process of its own, as a program that uses the client does.
"""

import json
import sys
from typing import Any

import replicate
from replicate.exceptions import ReplicateError
from replicate.stream import ServerSentEvent
from replicate.webhook import Webhooks

PUBLISHED = "671ac645ce5e552cc63a54a2bbff63fcf798043055d2dac5fc9e36a837eedcfb"
INPUT: dict[str, Any] = {"prompt": "lofi beat", "duration": 1, "seed": 7}


def runs(client: replicate.Client) -> dict[str, Any]:
    """Run the model by its name, by a version, and by its own name; with the wait and by polling."""
    by_name: Any = client.run("meta/musicgen", input=INPUT)
    by_version: Any = client.run(f"meta/musicgen:{PUBLISHED}", input=INPUT)
    polled: Any = client.run("meta/musicgen", input=INPUT, wait=False)
    as_mp3: Any = client.run("meta/musicgen", input=INPUT | {"output_format": "mp3"})
    contents = [one.read() for one in (by_name, by_version, polled)]
    return {
        "kinds": [type(one).__name__ for one in (by_name, by_version, polled)],
        "sizes": [len(content) for content in contents],
        "equal": contents[0] == contents[1] == contents[2],
        "wav": contents[0][:4] == b"RIFF",
        "mp3": as_mp3.read()[:3] == b"ID3",
    }


def predictions(client: replicate.Client) -> dict[str, Any]:
    """Create, fetch, list and cancel predictions, also of a deployment."""
    created = client.predictions.create(version=PUBLISHED, input=INPUT)
    at_first = created.status
    created.wait()
    fetched = client.predictions.get(created.id)
    long = client.models.predictions.create("meta/musicgen", input=INPUT | {"duration": 120})
    long.cancel()
    deployed = client.deployments.predictions.create("acme/small", input=INPUT)
    deployed.wait()
    page = client.predictions.list()
    progress = fetched.progress
    return {
        "at_first": at_first,
        "at_last": fetched.status,
        "progress": progress and [progress.percentage, progress.current, progress.total],
        "canceled": client.predictions.get(long.id).status,
        "deployed": deployed.status,
        "listed": {created.id, long.id, deployed.id} <= {one.id for one in page.results},
    }


def models(client: replicate.Client) -> dict[str, Any]:
    model = client.models.get("meta/musicgen")
    return {
        "model": model.id,
        "versions": len(model.versions.list().results),
        "listed": "meta/musicgen" in [one.id for one in client.models.list().results],
    }


def streams(client: replicate.Client) -> dict[str, Any]:
    """Stream a prediction: its last output is a file object."""
    events = list(client.stream("meta/musicgen", input=INPUT))
    outputs = [one.data for one in events if one.event is ServerSentEvent.EventType.OUTPUT]
    file: Any = outputs[-1]
    return {
        "last": str(events[-1].event.value),
        "sizes": [len(file.read())],
        "outputs": len(outputs),
    }


def files(client: replicate.Client, path: str) -> dict[str, Any]:
    """Upload a file, by name and as an input that the track continues."""
    stored = client.files.create(path)
    again = client.files.get(stored.id)
    with open(path, "rb") as audio:  # noqa: PTH123 (the client takes open files)
        track: Any = client.run(
            "meta/musicgen", input=INPUT | {"input_audio": audio, "continuation": True}
        )
    as_data: Any = client.run(
        "meta/musicgen",
        input=INPUT
        | {"input_audio": stored.urls["get"], "continuation": True, "continuation_end": 1},
    )
    return {
        "same": [again.size == stored.size, again.checksums == stored.checksums],
        "sizes": [len(track.read()), len(as_data.read())],
        "deleted": client.files.delete(stored.id),
    }


def refusals(client: replicate.Client) -> dict[str, Any]:
    """What the client shows of an error."""
    found = {}
    for name, model, fields in (
        ("model_version", "meta/musicgen", {"prompt": "a", "model_version": "melody-9"}),
        ("multi_band_diffusion", "meta/musicgen", {"prompt": "a", "multi_band_diffusion": True}),
        ("model", "meta/llama", {"prompt": "a"}),
    ):
        try:
            client.run(model, input=fields)
        except ReplicateError as error:
            found[name] = [error.status, error.title, error.detail]
    return found


def webhook(client: replicate.Client, url: str) -> dict[str, Any]:
    """Make a prediction whose end is told to `url`; return the secret that verifies the message."""
    prediction = client.models.predictions.create(
        "meta/musicgen", input=INPUT, webhook=url, webhook_events_filter=["completed"]
    )
    prediction.wait()
    secret = client.webhooks.default.secret()
    return {"id": prediction.id, "secret": secret.key, "verifier": Webhooks.__name__}


def main(url: str, path: str, hook: str) -> None:
    client = replicate.Client(base_url=url, api_token="any")
    client.poll_interval = 0.05
    print(
        json.dumps(
            {
                "runs": runs(client),
                "predictions": predictions(client),
                "models": models(client),
                "streams": streams(client),
                "files": files(client, path),
                "refusals": refusals(client),
                "webhook": webhook(client, hook),
            }
        )
    )


if __name__ == "__main__":
    main(*sys.argv[1:])
