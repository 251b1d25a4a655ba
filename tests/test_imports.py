"""Imports form no circle and go in the directions of the architecture; heavy packages are imported late."""

import ast
import subprocess
import sys
from collections.abc import Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

from tests.sources import PACKAGE, ROOT, imported_modules, module_of, name_of, parsed, python_files

# The rooms of this package that each room may import besides itself.
ALLOWED = {
    "types": set[str](),
    "cpus": set[str](),
    "model_status": {"types"},
    "errors": set[str](),
    "config": {"types", "errors"},
    "marks": set[str](),
    "error_bodies": {"errors"},
    "track_fields": {"types", "model_status", "marks"},
    "kernels": set[str](),
    "models": {"types", "cpus", "errors", "kernels"},
    "checkpoints": {"types", "cpus", "errors", "config", "models"},
    "provenance_report": set[str](),
    "provenance": {"errors", "config", "marks", "provenance_report"},
    "audio": {"types", "cpus", "errors", "marks", "provenance", "provenance_report"},
    "watermark": {"errors", "config", "models", "checkpoints", "audio", "provenance_report"},
    "engine": {
        "types", "cpus", "model_status", "errors", "config", "kernels", "models", "checkpoints",
    },
    "gateway": {
        "types", "cpus", "model_status", "errors", "config", "track_fields", "marks", "provenance",
        "provenance_report", "audio", "watermark",
    },
    "jobs": {"types", "model_status", "errors", "config", "track_fields", "audio", "gateway"},
    "api": {
        "types", "model_status", "errors", "error_bodies", "config", "track_fields", "marks",
        "provenance_report", "audio", "gateway", "jobs", "watermark",
    },
    "placement": set[str](),
    "deployments": {
        "types", "model_status", "errors", "config", "models", "checkpoints", "audio", "engine", "gateway", "jobs",
        "api", "placement",
    },
    "app": {"types", "errors", "config", "gateway", "deployments"},
    "machine": set[str](),
    "hub_reachability": set[str](),
    "ray_token": set[str](),
    "child_process": set[str](),
    "node": set[str](),
    "edge": {"errors", "error_bodies", "config", "gateway", "child_process"},
    "launch": {
        "cpus", "errors", "config", "checkpoints", "gateway", "child_process", "machine", "placement",
        "ray_token",
    },
    "launcher": {"errors", "config", "edge", "launch", "machine", "ray_token"},
    "client": {"types", "track_fields", "provenance_report"},
    "doctor": {
        "errors", "config", "checkpoints", "audio", "gateway", "hub_reachability", "machine", "ray_token",
    },
    "cli": {
        "types", "errors", "config", "audio", "checkpoints", "client", "doctor", "edge",
        "hub_reachability", "jobs", "launch", "launcher", "machine", "node", "provenance",
        "provenance_report", "ray_token", "watermark",
    },
}  # fmt: skip
# The rooms that may import a package from outside, at any depth.
IMPORTED_BY = {
    "ray": {"deployments", "app"},
    "fastapi": {"api", "deployments"},
    "starlette": {"api", "deployments"},
    "torch": {"kernels", "models", "checkpoints", "engine", "watermark", "deployments"},
    "torchaudio": {"kernels", "models", "checkpoints", "engine"},
    "triton": {"kernels"},
    "transformers": {"models", "checkpoints", "engine", "deployments"},
    "c2pa": {"provenance"},
    "cryptography": {"provenance"},
    "httpx": {"client", "cli", "hub_reachability", "node"},
    "psycopg": {"jobs"},
    "redis": {"gateway"},
    "psycopg_pool": {"jobs"},
    "audiocraft": {"models", "checkpoints"},
    "demucs": {"models", "checkpoints"},
}
# The rooms that may import torch as soon as they are imported themselves.
TORCH_AT_ONCE = {"kernels", "models", "checkpoints", "engine"}

SOURCES = [file for file in python_files("serve_app") if file != PACKAGE / "__init__.py"]
each_source = pytest.mark.parametrize("file", SOURCES, ids=name_of)


def room_of(module: str) -> str:
    """`engine` of `serve_app.engine.engine`; empty for the package itself."""
    return module.removeprefix("serve_app").lstrip(".").partition(".")[0]


def import_graph() -> dict[str, set[str]]:
    """The modules of this package that each module imports at run time, now or later."""
    modules = {module_of(file): file for file in python_files("serve_app")}
    return {
        module: ({*imported_modules(parsed(file), True)} & modules.keys()) - {module}
        for module, file in modules.items()
    }


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """Nodes along one circle of the graph; empty if it has none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []


def test_files_import_each_other_without_a_circle() -> None:
    graph = import_graph()
    assert sum(map(len, graph.values())) > len(graph), "the imports have been read"
    assert circle(graph) == []


def test_a_circle_is_found_with_late_imports_and_without_those_of_types() -> None:
    late = ast.parse("def f():\n    from serve_app import b")
    typing = ast.parse("if TYPE_CHECKING:\n    from serve_app import a\nimport torch")
    assert "serve_app.b" in set(imported_modules(late))
    assert set(imported_modules(typing, at_run_time_only=True)) == {"torch"}
    assert set(imported_modules(typing)) == {"serve_app", "serve_app.a", "torch"}
    assert circle({"a": {"b"}, "b": {"c"}, "c": {"b"}}) in (["b", "c", "b"], ["c", "b", "c"])


@each_source
def test_imports_go_one_way(file: Path) -> None:
    room = room_of(module_of(file))
    for module in imported_modules(parsed(file)):
        package = module.partition(".")[0]
        target = room_of(module) if package == "serve_app" else ""
        assert target in {"", room} | ALLOWED[room], f"{room} must not import {target}"
        allowed = IMPORTED_BY.get(package)
        assert allowed is None or room in allowed, f"{room} must not import {package}"


@each_source
def test_torch_is_imported_at_once_only_where_tensors_are(file: Path) -> None:
    tree = parsed(file)
    at_once = [node for node in tree.body if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = imported_modules(ast.Module(list(at_once), []))
    packages = {module.partition(".")[0] for module in modules}
    if room_of(module_of(file)) not in TORCH_AT_ONCE:
        assert not packages & {"torch", "torchaudio", "transformers"}


def test_building_the_application_imports_no_torch() -> None:
    code = (
        "import sys, yaml; from serve_app.app import build_app;"
        "build_app(yaml.safe_load(open('configs/nano.yaml'))['applications'][0]['args']);"
        "print(sorted({'torch', 'transformers', 'audiocraft'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True
    )
    assert run.stdout.strip().splitlines()[-1] == "[]"


def test_tests_stand_on_no_benchmark() -> None:
    """Benchmarks measure what the tests have shown to be right; benchmarks/tests covers their own logic."""
    importing = [
        name_of(file)
        for file in python_files("tests")
        if any(
            module.partition(".")[0] == "benchmarks" for module in imported_modules(parsed(file))
        )
    ]
    assert importing == []
