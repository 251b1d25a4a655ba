"""Write serve_app/client/fields.py from the schemas of the API: `make client`.

The client does not import the API; its fields are those of the schemas nevertheless.
"""

import subprocess
import sys
import textwrap
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from serve_app.api.schemas.generation import Generation
from serve_app.api.schemas.models import Capabilities, Model
from serve_app.audio.file_options import FileOptions

FILE = Path(__file__).parent.parent / "serve_app" / "client" / "fields.py"

_HEAD = '''\
"""Fields of requests and answers. Written by `make client` from serve_app/api/schemas: edit those."""

from typing import Annotated, Literal

from pydantic import Field
from typing_extensions import TypedDict  # pydantic takes no other before Python 3.12
'''
_TYPES = {"boolean": "bool", "integer": "int", "null": "None", "number": "float", "string": "str"}
_BOUNDS = {"minimum": "ge", "exclusiveMinimum": "gt", "maximum": "le"}
_WIDTH = 78


def source() -> str:
    """The whole file."""
    file_fields = FileOptions.model_json_schema()["properties"]
    generation = Generation.model_json_schema()["properties"]
    parts = [
        _HEAD,
        _class("FileFields(TypedDict, total=False)", FileOptions, file_fields),
        _class(
            "GenerationFields(FileFields, total=False)",
            Generation,
            _without(generation, ("prompt", *file_fields)),
        ),
        _class(
            "ModelCapabilities(TypedDict)",
            Capabilities,
            Capabilities.model_json_schema()["properties"],
        ),
        _class("ServedModel(TypedDict)", Model, Model.model_json_schema()["properties"]),
    ]
    return formatted("\n\n".join(parts))


def formatted(text: str) -> str:
    """Format Python as `make fmt` does, with sorted imports."""
    for action in (("check", "--select", "I", "--fix", "--quiet"), ("format",)):
        command = [sys.executable, "-m", "ruff", *action, "--stdin-filename", str(FILE), "-"]
        run = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
        text = run.stdout
    return text


def _class(head: str, model: type[BaseModel], fields: Mapping[str, Any]) -> str:
    lines = [f"class {head}:", f'    """{model.__doc__}"""', ""]
    lines += [f"    {name}: {_annotation(schema)}" for name, schema in fields.items()]
    return "\n".join(lines) + "\n"


def _without(fields: Mapping[str, Any], names: Iterable[str]) -> dict[str, Any]:
    return {name: schema for name, schema in fields.items() if name not in names}


def _annotation(schema: Mapping[str, Any]) -> str:
    """`Annotated[type, Field(bounds, description)]` of a field."""
    kinds = schema.get("anyOf", [schema])
    names = [_type(kind) for kind in kinds]
    bounds = [
        f"{keyword}={kind[name]!r}"
        for kind in kinds
        for name, keyword in _BOUNDS.items()
        if name in kind
    ]
    described = _description(schema)
    if not bounds and not described:
        return " | ".join(names)
    description = [f"description={_wrapped(described)}"] if described else []
    return f"Annotated[{' | '.join(names)}, Field({', '.join([*bounds, *description])})]"


def _type(schema: Mapping[str, Any]) -> str:
    if "$ref" in schema:
        return f"Model{schema['$ref'].rpartition('/')[2]}"
    values = schema.get("enum", [schema["const"]] if "const" in schema else [])
    if values:
        return f"Literal[{', '.join(map(repr, values))}]"
    if schema["type"] == "array":
        return f"list[{_type(schema['items'])}]"
    return _TYPES[schema["type"]]


def _description(schema: Mapping[str, Any]) -> str:
    text: str = schema.get("description", "")
    default = schema.get("default")
    if default is None or not text:
        return text
    shown = f"{default:g}" if isinstance(default, float) else default
    return f"{text} Default: {shown}."


def _wrapped(text: str) -> str:
    """String literals of one line each, in parentheses."""
    lines = textwrap.wrap(text, _WIDTH, drop_whitespace=False, break_on_hyphens=False)
    return f"({' '.join(repr(line) for line in lines)})" if len(lines) > 1 else repr(text)


if __name__ == "__main__":
    FILE.write_text(source())
    print(f"{FILE} is written")
