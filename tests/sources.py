"""The repository's own Python files, parsed: for the tests of its structure and style."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "serve_app"
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef | ast.Module


def python_files(*folders: str) -> list[Path]:
    """Every Python file below these folders of the repository, sorted."""
    return sorted(file for folder in folders for file in (ROOT / folder).rglob("*.py"))


def name_of(file: Path) -> str:
    """The path from the repository's root."""
    return str(file.relative_to(ROOT))


def module_of(file: Path) -> str:
    """The dotted name under which the file is imported."""
    return ".".join(file.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def parsed(file: Path) -> ast.Module:
    return ast.parse(file.read_text())


def functions(file: Path) -> Iterator[Function]:
    """Every function and method, nested ones included."""
    return (node for node in ast.walk(parsed(file)) if isinstance(node, Function))


def length(function: Function) -> int:
    """Lines of a function, without its decorators and its docstring."""
    lines = _lines(function)
    return lines - _lines(function.body[0]) if ast.get_docstring(function) else lines


def imported_modules(tree: ast.Module, at_run_time_only: bool = False) -> Iterator[str]:
    """Names of imported modules at any depth; of `from a import b` both `a` and `a.b`, of which one may be no module.

    at_run_time_only: leave out imports under `if TYPE_CHECKING`.
    """
    for_types_only = _nodes_for_types(tree) if at_run_time_only else set[ast.AST]()
    for node in ast.walk(tree):
        if node in for_types_only:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from _imported_from(node)


def _imported_from(node: ast.ImportFrom) -> Iterator[str]:
    assert node.module is not None, "imports are absolute"
    assert node.level == 0, "imports are absolute"
    yield node.module
    yield from (f"{node.module}.{alias.name}" for alias in node.names)


def _nodes_for_types(tree: ast.Module) -> set[ast.AST]:
    """Nodes in the body of `if TYPE_CHECKING`."""
    blocks = [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    return {node for block in blocks for child in block.body for node in ast.walk(child)}


def _lines(node: ast.stmt) -> int:
    assert node.end_lineno is not None
    return node.end_lineno - node.lineno + 1
