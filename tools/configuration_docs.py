"""Write docs/configuration.md from the descriptions of the fields in serve_app/config/.

python -m tools.configuration_docs           # write the page: `make docs`
python -m tools.configuration_docs --check   # fail if the page is out of date
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from serve_app.config.adapter import AdapterSource
from serve_app.config.api import AccessConfig, ApiConfig
from serve_app.config.app import AppConfig, EngineConfig, ModelConfig
from serve_app.config.coordination import CoordinationConfig
from serve_app.config.deployment import DeploymentConfig
from serve_app.config.edge import EdgeConfig
from serve_app.config.fine_tunes import FineTuneConfig, FineTunesConfig
from serve_app.config.jobs import JobsConfig, WebhookConfig
from serve_app.config.model_loading import ModelLoadingConfig
from serve_app.config.provenance import ProvenanceConfig
from serve_app.config.watermark import WatermarkConfig

PAGE = Path(__file__).parent.parent / "docs" / "configuration.md"

SECTIONS: tuple[tuple[str, str, type[BaseModel]], ...] = (
    ("args", "The application: `applications[].args`.", AppConfig),
    ("api", "The HTTP API: `args.api`.", ApiConfig),
    ("access", "API keys: `args.api.access`. See [Access](operations.md#access).", AccessConfig),
    (
        "coordination",
        "One queue and one set of limits: `args.coordination`. See "
        "[Several ingress replicas](operations.md#several-ingress-replicas).",
        CoordinationConfig,
    ),
    ("jobs", "Durable jobs: `args.jobs`. See [Jobs](jobs.md).", JobsConfig),
    ("webhooks", "Messages to callers' addresses: `args.jobs.webhooks`.", WebhookConfig),
    (
        "provenance",
        "Marks of generated audio: `args.provenance`. See [Marks](api.md#marks).",
        ProvenanceConfig,
    ),
    (
        "watermark",
        "A watermark in the samples: `args.provenance.watermark`. "
        "See [Provenance](provenance.md#watermark).",
        WatermarkConfig,
    ),
    (
        "edge",
        "The edge, HAProxy between clients and Serve's HTTP proxy: `args.edge`. "
        "`api.max_header_bytes` and `api.max_upload_bytes` hold there, too. "
        "See [The edge](operations.md#the-edge).",
        EdgeConfig,
    ),
    ("models", "Each entry of `args.models`.", ModelConfig),
    ("model_loading_config", "Name and source of a model.", ModelLoadingConfig),
    (
        "adapter_source",
        "Each entry of a model's `adapter_source`. See [Adapters](training.md#adapters).",
        AdapterSource,
    ),
    (
        "fine_tunes",
        "Fine-tunes that a model's replicas serve beside it. "
        "See [Fine-tunes](operations.md#fine-tunes).",
        FineTunesConfig,
    ),
    ("checkpoints", "Each entry of a model's `fine_tunes.checkpoints`.", FineTuneConfig),
    ("engine_kwargs", "The engine of each replica of a model.", EngineConfig),
    (
        "deployment_config",
        "Options that Ray Serve takes for a model's deployment, and for the ingress under "
        "`args.ingress_deployment_config`. An option that is not given has Serve's default. For "
        "scaling see [Scaling](operations.md#scaling).",
        DeploymentConfig,
    ),
)

# Options of Ray Serve itself that the files in configs/ set.
SERVE_OPTIONS: Mapping[str, str] = {
    "proxy_location": "Nodes with an HTTP proxy: `EveryNode` or `HeadOnly`.",
    "http_options.host": (
        "Address to listen on. `127.0.0.1`: this machine only; `0.0.0.0`: all interfaces."
    ),
    "http_options.port": "HTTP port.",
    "http_options.request_timeout_s": "Seconds after which an unfinished answer is cut off.",
    "http_options.keep_alive_timeout_s": "Seconds after which an idle connection is closed.",
    "logging_config.encoding": "Log format: `TEXT` for people, `JSON` for log collectors.",
    "logging_config.log_level": "`DEBUG`, `INFO`, `WARNING` or `ERROR`.",
    "logging_config.enable_access_log": "Write one log line per request.",
    "applications[].name": "Name of the application in `serve status`.",
    "applications[].route_prefix": "Path under which all routes lie.",
    "applications[].import_path": (
        "Function that builds the application: `serve_app.app:build_app`."
    ),
    "applications[].args": "Arguments of that function: [args](#args).",
}

_TYPES = {
    "boolean": "boolean",
    "integer": "integer",
    "number": "number",
    "object": "mapping",
    "string": "text",
}

INTRODUCTION = """\
# Configuration

<!-- Written by `make docs` from the descriptions in serve_app/config/. Edit those. -->

One YAML file is the whole configuration. It is a literal Ray Serve configuration: `serve run`,
`serve deploy` and KubeRay take the same file. The files in [`configs/`](../configs) name every
usual option with a comment:

{files}

An unknown option or a wrong value is an error at start-up that names the option.
"""


def page() -> str:
    """The whole page as Markdown."""
    serve = _table(
        ("option", "meaning"), ((f"`{name}`", text) for name, text in SERVE_OPTIONS.items())
    )
    parts = [
        INTRODUCTION.format(files=_files()),
        *(_section(*section) for section in SECTIONS),
        "## Options of Ray Serve\n\n"
        f"Outside `args`; Ray Serve's documentation has the full list.\n\n{serve}",
    ]
    return "\n".join(parts)


def _files() -> str:
    """One list item for each file in configs/: its link, and the first comment in it."""
    files = sorted((PAGE.parent.parent / "configs").glob("*.yaml"))
    return "\n".join(
        f"- [`{file.name}`](../configs/{file.name}): {_first_comment(file)}" for file in files
    )


def _first_comment(file: Path) -> str:
    return file.read_text().partition("\n")[0].removeprefix("# ").rstrip()


def _section(title: str, text: str, model: type[BaseModel]) -> str:
    schema = model.model_json_schema()
    required = set(schema.get("required", ()))
    rows = (
        (f"`{name}`", _kind(field), *_default_and_meaning(name in required, field))
        for name, field in schema["properties"].items()
    )
    return f"## {title}\n\n{text}\n\n{_table(('option', 'type', 'default', 'meaning'), rows)}"


def _kind(schema: Mapping[str, Any]) -> str:
    """The JSON schema's type in words, such as `integer, 1 to 1024`."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        title = next(title for title, _, model in SECTIONS if model.__name__ == name)
        return f"[{title}](#{title})"
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"] if one != {"type": "null"})
    if "enum" in schema:
        return ", ".join(f"`{value}`" for value in schema["enum"])
    if schema["type"] == "array":
        return f"list of {_kind(schema['items'])}"
    return _TYPES[schema["type"]] + _bounds(schema)


def _bounds(schema: Mapping[str, Any]) -> str:
    least = schema.get("minimum")
    most = schema.get("maximum")
    if schema.get("exclusiveMinimum") == 0:
        return " above 0"
    if least is None:
        return ""
    return f" from {least}" if most is None else f", {least} to {most}"


def _default_and_meaning(required: bool, schema: Mapping[str, Any]) -> tuple[str, str]:
    """A description that ends in `Default: ...` says in words what the field's None stands for."""
    meaning, _, in_words = " ".join(schema["description"].split()).partition(" Default: ")
    if required:
        return "required", meaning
    return in_words.removesuffix(".") or _shown(schema.get("default")), meaning


def _shown(value: object) -> str:
    """A default value as YAML has it; nothing for a section, which has a table of its own."""
    if isinstance(value, dict):
        return ""
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value if isinstance(value, str) else json.dumps(value)}`" if value != [] else "none"


def _table(titles: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [titles, ("---",) * len(titles), *rows]
    return "".join(f"| {' | '.join(cells)} |\n" for cells in lines)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m tools.configuration_docs",
        description="Write docs/configuration.md from the descriptions in serve_app/config/.",
    )
    parser.add_argument("--check", action="store_true", help="compare only; fail on a difference")
    wanted = page()
    if not parser.parse_args().check:
        PAGE.write_text(wanted)
        print(f"{PAGE} is written")
    elif not PAGE.exists() or PAGE.read_text() != wanted:
        raise SystemExit(f"{PAGE} is out of date: run `make docs`")
    else:
        print(f"{PAGE} is up to date")


if __name__ == "__main__":
    main()
