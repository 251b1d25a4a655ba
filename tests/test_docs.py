"""Documentation: complete in errors, alerts, benchmarks, configurations; what it names exists."""

import ast
import inspect
import re
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from serve_app import __version__, errors
from serve_app.api import errors as api_errors
from serve_app.deployments.autoscaling import BudgetPolicy, CpuPolicy, DrainTimePolicy
from serve_app.deployments.ledger_actor import actor_name
from serve_app.edge import errors as edge_errors
from serve_app.engine import errors as engine_errors
from serve_app.gateway.permits.messages import RECOVERY_S
from serve_app.jobs import errors as job_errors
from tests.markdown import rows, section

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
PAGES = sorted([*ROOT.glob("*.md"), *DOCS.rglob("*.md"), ROOT / "cluster" / "README.md"])
README = (ROOT / "README.md").read_text()
API = (DOCS / "api.md").read_text()
OPERATIONS = (DOCS / "operations.md").read_text()
ARCHITECTURE = (DOCS / "architecture.md").read_text()
BENCHMARKS = (DOCS / "benchmarks.md").read_text()
MOST_WORDS = 1300


def all_errors() -> list[type[errors.ServeAppError]]:
    found = (
        vars(errors) | vars(api_errors) | vars(edge_errors) | vars(engine_errors) | vars(job_errors)
    )
    return [
        one
        for one in found.values()
        if isinstance(one, type) and issubclass(one, errors.ServeAppError)
    ]


def test_the_readme_is_short() -> None:
    assert len(README.split()) <= MOST_WORDS
    assert len(README.splitlines()) <= 160


def test_the_version_is_the_same_everywhere() -> None:
    """In the package, its metadata, the lock file and the newest dated entry of the changelog."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    [locked] = [one["version"] for one in lock if one["name"] == project["name"]]
    changelog = (ROOT / "CHANGELOG.md").read_text()
    released = re.findall(r"^## \[([0-9.]+)\] - (\d{4}-\d\d-\d\d)$", changelog, re.MULTILINE)
    assert __version__ == project["version"] == locked == released[0][0]
    assert [date for _, date in released] == sorted((date for _, date in released), reverse=True)


def test_the_changelog_keeps_its_form() -> None:
    changelog = (ROOT / "CHANGELOG.md").read_text()
    kinds = set(re.findall(r"^### (.*)$", changelog, re.MULTILINE))
    assert re.search(r"^## \[Unreleased\]$", changelog, re.MULTILINE)
    assert kinds <= {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_pre_commit_runs_the_locked_ruff() -> None:
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())
    lock = tomllib.loads((ROOT / "uv.lock").read_text())["package"]
    [ruff] = [one["version"] for one in lock if one["name"] == "ruff"]
    repositories = {one["repo"]: one for one in hooks["repos"]}
    official = repositories["https://github.com/astral-sh/ruff-pre-commit"]
    assert official["rev"] == f"v{ruff}"
    assert {hook["id"] for hook in official["hooks"]} == {"ruff-check", "ruff-format"}
    for hook in repositories["local"]["hooks"]:
        module = hook["entry"].split(" -m ")[1].split()[0]
        assert (ROOT / f"{module.replace('.', '/')}.py").exists(), hook["entry"]
        assert hook["name"]
        assert hook["language"] == "system"


def test_every_error_is_documented_with_its_status() -> None:
    documented = {code: cells[0] for code, cells in rows(section(API, "Errors")).items()}
    at_startup = {errors.CheckpointError, errors.ConfigError}
    assert documented == {
        error.code: "none" if error in at_startup else str(error.status) for error in all_errors()
    }


def test_every_error_has_a_code_of_its_own() -> None:
    codes = [error.code for error in all_errors()]
    assert len(codes) == len(set(codes))


@pytest.mark.parametrize("policy", [DrainTimePolicy, BudgetPolicy, CpuPolicy])
def test_every_option_of_a_policy_is_documented(policy: type) -> None:
    names = set(policy.__init__.__annotations__) - {"return"}  # type: ignore[misc]
    assert names
    scaling = section(OPERATIONS, "Scaling")
    assert {name for name in names if not re.search(rf"\b{name}\b", scaling)} == set()


def test_every_alert_is_documented() -> None:
    groups = yaml.safe_load((ROOT / "cluster/prometheus/alerts.yaml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"] if "alert" in rule}
    assert set(rows(section(OPERATIONS, "Alerts"))) == alerts


def test_alerts_name_what_there_is() -> None:
    """The policy of the ingress in configs/ has the advised options; the actor of limits has that name."""
    advice = rows(section(OPERATIONS, "Alerts"))
    named = set(re.findall(r"`(\w+)`", " ".join(advice["MusicgenIngressBusy"])))
    assert named == {*inspect.signature(CpuPolicy).parameters, "max_replicas"}
    assert f"`{actor_name('APPLICATION')}`" in " ".join(advice["MusicgenLimitsLocal"])


def test_the_wait_for_a_restarted_keeper_is_documented() -> None:
    assert f"{RECOVERY_S:g} s" in section(OPERATIONS, "Several ingress replicas")


def test_the_streams_of_a_core_are_those_measured() -> None:
    """Ingress and encoder, in milliseconds per streamed second of mp3, by the table of stages."""
    [row] = re.findall(r"^\| a streamed second, mp3 \| (.*) \|$", BENCHMARKS, re.MULTILINE)
    _, serves_own, kubernetes, _ = row.split(" | ")
    most, least = (
        round(1000 / (float(costs.split(", ")[1]) + float(costs.split("; ")[1])))
        for costs in (kubernetes, serves_own)
    )
    streams = f"a core carries {least} to {most} live mp3 streams"
    assert streams in OPERATIONS
    for file in (ROOT / "configs").glob("*.yaml"):
        assert ("CpuPolicy" in file.read_text()) is (streams in file.read_text()), file


def test_every_benchmark_is_documented() -> None:
    modules = {
        file.stem for file in (ROOT / "benchmarks").glob("*.py") if "__main__" in file.read_text()
    } | {file.parent.name for file in (ROOT / "benchmarks").glob("*/__main__.py")}
    documented = set(re.findall(r"^\| `python -m benchmarks\.(\w+)`", BENCHMARKS, re.MULTILINE))
    assert documented == modules


@pytest.mark.parametrize(
    "file", sorted((ROOT / "configs").glob("*.yaml")), ids=lambda file: file.name
)
def test_every_configuration_is_documented(file: Path) -> None:
    assert f"(configs/{file.name})" in README


def test_every_file_for_clusters_is_listed() -> None:
    folder = ROOT / "cluster"
    listed = re.findall(r"\]\(([^)#]+)\)", (folder / "README.md").read_text())
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "README.md"]
    assert files
    for file in files:
        name = file.relative_to(folder)
        assert str(name) in listed or name.parts[0] in listed, name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_exist(page: Path) -> None:
    makefile = (ROOT / "Makefile").read_text()
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    code = "\n".join(
        block or inline
        for block, inline in re.findall(r"```sh\n(.*?)```|`([^`\n]+)`", page.read_text(), re.DOTALL)
    )
    assert set(re.findall(r"^make ([a-z-]+)", code, re.MULTILINE)) <= targets


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_exist(page: Path) -> None:
    """Files by their paths, headings by their anchors."""
    links = re.findall(r"(?:\]\(|src=\")(?!http|mailto)([^)\"]+)[)\"]", page.read_text())
    assert [link for link in links if not exists(page, link)] == []


def exists(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    file = (page.parent / path).resolve() if path else page
    return file.exists() and (not anchor or anchor in anchors(file.read_text()))


def anchors(text: str) -> set[str]:
    """GitHub's anchors of the headings."""
    titles = re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title).strip().lower().replace(" ", "-") for title in titles}


def mentioned() -> Iterator[tuple[str, str]]:
    """Each file of the architecture page with the name behind it, or without one."""
    yield from re.findall(r"`([a-z0-9_/]+\.py)`(?: `([A-Za-z_.]+)`)?", ARCHITECTURE)


@pytest.mark.parametrize(("file", "name"), sorted(set(mentioned())))
def test_the_architecture_page_names_what_exists(file: str, name: str) -> None:
    path = next(
        (ROOT / top / file for top in ("serve_app", "") if (ROOT / top / file).exists()), None
    )
    assert path is not None, file
    body: list[ast.stmt] = ast.parse(path.read_text()).body
    for part in name.split(".") if name else []:
        found = [
            node
            for node in body
            if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef)
            and node.name == part
        ]
        assert found, f"{file} has no {name}"
        body = found[0].body


def test_the_walk_has_every_hop() -> None:
    walk = section(ARCHITECTURE, "The walk of a request")
    hops = re.findall(r"^\| (\d+) \| `", walk, re.MULTILINE)
    assert hops == [str(number + 1) for number in range(len(hops))]
    assert len(hops) >= 12


def test_every_room_is_described() -> None:
    first_cells = re.findall(r"^\| ([^|]*) \|", section(ARCHITECTURE, "Rooms"), re.MULTILINE)
    documented = set(re.findall(r"`([a-z_]+/)`", " ".join(first_cells)))
    package = ROOT / "serve_app"
    assert documented == {f"{file.parent.name}/" for file in package.glob("*/__init__.py")}
