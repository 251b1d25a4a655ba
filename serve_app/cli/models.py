"""`musicgen models`: list the served models."""

import json

from rich.console import Console
from rich.table import Table

from serve_app.cli.connection import DEFAULT_URL, Key, Url, connected
from serve_app.cli.console import AsJson

_MELODY = {True: "yes", False: "no", None: "unknown"}


def models(url: Url = DEFAULT_URL, key: Key = None, as_json: AsJson = False) -> None:
    """List the served models, the default first."""
    with connected(url, key) as client:
        served = client.models()
    if as_json:
        print(json.dumps(served))
        return
    table = Table("model", "aliases", "source", "licence", "ready", "melody", box=None)
    for model in served:
        aliases = ", ".join(model["aliases"])
        ready = "yes" if model["loaded"] else "no"
        melody = _MELODY[model["capabilities"]["melody"]]
        table.add_row(model["id"], aliases, model["source"], model["license"], ready, melody)
    Console(highlight=False).print(table)
