"""Imports go one way, and what is heavy is imported late."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "serve_app"

# What each part may import of this package.
ALLOWED = {
    "types": set[str](),
    "errors": set[str](),
    "config": {"types", "errors"},
    "track_fields": {"types"},
    "kernels": set[str](),
    "models": {"types", "errors", "kernels"},
    "checkpoints": {"types", "errors", "config", "models"},
    "audio": {"types", "errors"},
    "engine": {"types", "errors", "config", "models", "checkpoints"},
    "gateway": {"types", "errors", "config", "track_fields", "audio"},
    "api": {"types", "errors", "config", "track_fields", "audio", "gateway"},
    "deployments": {
        "types", "errors", "config", "models", "checkpoints", "audio", "engine", "gateway", "api",
    },
    "app": {"types", "errors", "config", "deployments"},
    "machine": set[str](),
    "launcher": {"machine"},
    "client": {"types", "track_fields"},
    "doctor": {"machine"},
    "cli": {"client", "doctor", "launcher", "errors", "checkpoints"},
}  # fmt: skip
FREE_OF_HTTP = {"audio", "gateway", "track_fields", "types", "errors"}
RAY_IS_FOR = {"deployments", "app"}
TORCH_IS_FOR = {"models", "checkpoints", "engine"}


def part_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(file: Path, top_level_only: bool = False) -> Iterator[str]:
    tree = ast.parse(file.read_text())
    for node in tree.body if top_level_only else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute"
            assert node.module is not None
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


SOURCES = sorted(file for file in PACKAGE.rglob("*.py") if file != PACKAGE / "__init__.py")


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_imports_go_one_way(file: Path) -> None:
    part = part_of(file)
    for module in imported_modules(file):
        top, _, rest = module.partition(".")
        if top == "serve_app" and rest:
            target = rest.split(".")[0]
            assert target == part or target in ALLOWED[part], f"{part} must not import {target}"
        assert top != "ray" or part in RAY_IS_FOR, f"{part} must not import ray"
        assert top != "audiocraft", "the package never imports AudioCraft"


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_torch_is_imported_where_tensors_are(file: Path) -> None:
    tops = {module.split(".")[0] for module in imported_modules(file, top_level_only=True)}
    if part_of(file) not in TORCH_IS_FOR:
        assert not tops & {"torch", "torchaudio", "transformers"}


@pytest.mark.parametrize("file", SOURCES, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_the_gateway_knows_nothing_of_http(file: Path) -> None:
    if part_of(file) in FREE_OF_HTTP:
        tops = {module.split(".")[0] for module in imported_modules(file)}
        assert not tops & {"fastapi", "starlette", "httpx"}


def test_building_the_application_imports_no_torch() -> None:
    code = (
        "import sys, yaml; from serve_app.app import build_app;"
        "build_app(yaml.safe_load(open('configs/nano.yaml'))['applications'][0]['args']);"
        "print(sorted({'torch', 'transformers', 'audiocraft'} & set(sys.modules)))"
    )
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=PACKAGE.parent, check=True
    )
    assert run.stdout.strip().splitlines()[-1] == "[]"


def test_no_module_is_a_drawer() -> None:
    names = {file.stem for file in PACKAGE.rglob("*.py")} | {
        folder.name for folder in PACKAGE.rglob("*/")
    }
    assert not names & {"utils", "common", "core", "base", "helpers", "manager"}


def test_files_stay_small() -> None:
    long = {
        str(file.relative_to(PACKAGE)): lines
        for file in SOURCES
        if (lines := len(file.read_text().splitlines())) > 350
    }
    assert not long
