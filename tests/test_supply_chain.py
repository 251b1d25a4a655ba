"""What is installed is what was reviewed: hashes, digests, versions without known faults, SBOM, audit."""

import json
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from tools import audit

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LOCK = tomllib.loads((ROOT / "uv.lock").read_text())
DOCKERFILE = (ROOT / "cluster" / "Dockerfile").read_text().replace("\\\n", " ")
DIGEST = r"@sha256:[0-9a-f]{64}$"
UV = [sys.executable, "-m", "uv"]
EXTRAS = ("tracing", "c2pa", "postgres", "redis", "s3")  # on every node of a cluster
# The others: of a model, on its nodes, where the lock's pins allow; and of the machines of a cloud.
ELSEWHERE = {"audiocraft", "demucs", "aws", "gcp"}
EXPORT = " ".join(["export --quiet --frozen --no-dev", *(f"--extra {extra}" for extra in EXTRAS)])
# The first version of each package without the faults known when this was written.
FIXED = {
    "aiohttp": "3.14.4",  # CVE-2026-111064, CVE-2026-111066
    "certifi": "2026.10.19",  # a compromised CA
    "h11": "0.16.0",  # CVE-2025-43859
    "idna": "3.15",  # CVE-2026-45409
    "jinja2": "3.1.6",  # CVE-2025-27516
    "python-multipart": "0.0.31",  # GHSA-v9pg-7xvm-68hf
    "ray": "2.52.0",  # CVE-2025-62593
    "requests": "2.33.0",  # CVE-2026-25645
    "starlette": "1.4.0",  # CVE-2026-54283
    "torch": "2.10.0",  # CVE-2026-24747: code from weights_only pickles
    "transformers": "5.10.1",  # CVE-2026-4372: code from config.json
    "urllib3": "2.7.0",  # CVE-2026-44431
}


def run(command: list[str]) -> str:
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def floor(requirement: Requirement) -> Version:
    """Lowest version that the requirement admits."""
    lowest = [one.version for one in requirement.specifier if one.operator in (">=", "==")]
    return max((Version(version.removesuffix(".*")) for version in lowest), default=Version("0"))


@pytest.mark.parametrize("name", FIXED)
def test_neither_floors_nor_the_lock_admit_versions_with_known_faults(name: str) -> None:
    constraints = PROJECT["tool"]["uv"]["constraint-dependencies"]
    declared = map(Requirement, [*PROJECT["project"]["dependencies"], *constraints])
    [requirement] = [one for one in declared if one.name == name]
    assert floor(requirement) >= Version(FIXED[name])
    locked = [Version(one["version"]) for one in LOCK["package"] if one["name"] == name]
    assert locked
    assert min(locked) >= Version(FIXED[name])


def test_the_lock_is_up_to_date_with_the_floors() -> None:
    [project] = [one for one in LOCK["package"] if one["name"] == PROJECT["project"]["name"]]
    locked = {
        (one["name"], one.get("specifier", "")) for one in project["metadata"]["requires-dist"]
    }
    for requirement in map(Requirement, PROJECT["project"]["dependencies"]):
        versions = {specifier for name, specifier in locked if name == requirement.name}
        assert str(requirement.specifier) in {
            str(Requirement(f"x{version}").specifier) for version in versions
        }, requirement


def test_every_locked_file_has_a_hash_and_comes_from_one_registry() -> None:
    files: list[dict[str, Any]] = []
    for package in LOCK["package"]:
        if "registry" in package["source"]:
            files += [
                *package.get("wheels", []),
                *([package["sdist"]] if "sdist" in package else []),
            ]
    assert len(files) > 1000
    assert all(re.fullmatch(r"sha256:[0-9a-f]{64}", file["hash"]) for file in files)
    assert len({package["source"].get("registry") for package in LOCK["package"]} - {None}) == 1


def test_every_image_is_pinned_by_digest() -> None:
    arguments = dict(re.findall(r"^ARG (\w+)=(\S*)", DOCKERFILE, re.MULTILINE))
    sources = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert sources
    for source in sources:
        name = re.fullmatch(r"\$\{(\w+)\}", source)
        image = arguments[name[1]] if name else source
        assert re.search(DIGEST, image), source
        assert name is None or f"# {name[1]}: " in DOCKERFILE, "the way to pin it is described"
    copied = re.findall(r"^COPY --from=(\S+)", DOCKERFILE, re.MULTILINE)
    stages = re.findall(r"^FROM \S+ AS (\S+)", DOCKERFILE, re.MULTILINE)
    assert all(one in stages or re.search(DIGEST, one) for one in copied)


def images(node: Any) -> list[str]:
    """Values of `image` at any depth of a YAML document."""
    if isinstance(node, list):
        return [image for one in node for image in images(one)]
    if not isinstance(node, dict):
        return []
    own = [node["image"]] if isinstance(node.get("image"), str) else []
    return own + [image for one in node.values() for image in images(one)]


@pytest.mark.parametrize("file", ["compose.yaml", "kuberay/redis.yaml"])
def test_images_of_others_in_the_cluster_files_are_pinned_by_digest(file: str) -> None:
    documents = yaml.safe_load_all((ROOT / "cluster" / file).read_text())
    named = [image for image in images(list(documents)) if image != "musicgen-serve"]
    assert named
    assert all(re.search(DIGEST, image) for image in named), named


def test_the_image_installs_with_hashes() -> None:
    """Except PyTorch of its own index, where that is chosen, and the wheel built here."""
    installs = re.findall(r"(?:uv pip|python -m pip) install ([^&;]*)", DOCKERFILE)
    assert len(installs) == 4
    exceptions = [one for one in installs if "--require-hashes" not in one]
    assert [one.split()[-1] for one in exceptions] == ["torch.txt", "dist/*.whl"]
    assert f"uv {EXPORT} --no-emit-project --format requirements.txt" in DOCKERFILE


def test_every_option_of_the_ingress_has_its_extra_on_the_nodes() -> None:
    assert PROJECT["project"]["optional-dependencies"].keys() == {*EXTRAS, *ELSEWHERE}
    assert DOCKERFILE.count(f"uv {EXPORT} ") == 2, "the packages, and their list"
    assert f"uv {EXPORT} " in (ROOT / "Makefile").read_text()


def test_the_image_takes_pytorch_of_the_lock_by_default() -> None:
    assert re.findall(r"^ARG TORCH_BACKEND=(\S+)$", DOCKERFILE, re.MULTILINE) == ["lock"] * 2
    compose = yaml.safe_load((ROOT / "cluster" / "compose.yaml").read_text())
    arguments = compose["services"]["musicgen"]["build"]["args"]
    assert arguments["TORCH_BACKEND"] == "${TORCH_BACKEND:-lock}"
    [without] = re.findall(r'if \[ "\$TORCH_BACKEND" (\S+) lock \]; then grep', DOCKERFILE)
    assert without == "!=", "PyTorch's own index is asked only where another backend is chosen"
    [branches] = re.findall(r'if \[ "\$TORCH_BACKEND" = lock \]; then ([^;]+);', DOCKERFILE)
    assert branches == "cp locked.txt hashed.txt"


def test_the_lock_holds_the_cuda_version_that_the_image_s_comment_names() -> None:
    lock = (ROOT / "uv.lock").read_text()
    [version] = re.findall(r'^name = "cuda-toolkit"\nversion = "(\d+\.\d+)', lock, re.MULTILINE)
    for file in ("cluster/Dockerfile", "docs/operations.md"):
        assert f"CUDA {version}" in (ROOT / file).read_text(), file


def test_only_pytorch_is_taken_out_of_the_hashed_requirements() -> None:
    locked = run([*UV, *EXPORT.split(), "--no-emit-project", "--format", "requirements.txt"])
    [program] = re.findall(r"awk '([^']+)'", DOCKERFILE)
    hashed = subprocess.run(
        ["awk", program], input=locked, capture_output=True, text=True, check=True
    ).stdout
    names = set(re.findall(r"^([\w.-]+)==", locked, re.MULTILINE))
    kept = set(re.findall(r"^([\w.-]+)==", hashed, re.MULTILINE))
    left_out = {name for name in names - kept if not name.startswith(("nvidia-", "cuda-"))}
    assert left_out == {"torch", "torchaudio", "triton"}
    blocks = re.split(r"\n(?=\S)", hashed)
    assert all("--hash=sha256:" in one for one in blocks if "==" in one.splitlines()[0])


def test_the_programs_that_build_have_hashes() -> None:
    text = (ROOT / "cluster" / "build-tools.txt").read_text()
    blocks = re.findall(
        r"^([\w-]+)==.*\n((?: +--hash=sha256:[0-9a-f]{64}.*\n)*)", text, re.MULTILINE
    )
    assert {"uv", "hatchling"} <= {name for name, _ in blocks}
    assert all(hashes for _, hashes in blocks)
    assert "!cluster/build-tools.txt" in (ROOT / ".dockerignore").read_text().splitlines()


def test_the_sbom_lists_the_locked_packages(tmp_path: Path) -> None:
    [command] = re.findall(r"uv (export [^>&]*cyclonedx[^>&]*)>", DOCKERFILE)
    recipe = (ROOT / "Makefile").read_text().partition("\nsbom:")[2]
    assert command.strip() in recipe, "the image holds what `make sbom` writes"
    file = tmp_path / "sbom.json"
    run([*UV, *command.split(), "--output-file", str(file)])
    sbom = json.loads(file.read_text())
    versions = {one["name"]: one["version"] for one in sbom["components"]}
    assert (sbom["bomFormat"], sbom["specVersion"]) == ("CycloneDX", "1.5")
    [ray] = [one["version"] for one in LOCK["package"] if one["name"] == "ray"]
    assert versions["ray"] == ray
    assert {"torch", "starlette", "transformers"} <= versions.keys()


def fake_uv(status: int, error: str = "", output: str = "") -> list[str]:
    program = (
        f"import sys; print({output!r}); print({error!r}, file=sys.stderr); sys.exit({status})"
    )
    return [sys.executable, "-c", program]


def test_the_audit_says_plainly_when_the_database_is_out_of_reach(
    capsys: pytest.CaptureFixture[str],
) -> None:
    unreachable = fake_uv(2, "error: Request failed after 3 retries\n cause: dns error")
    assert audit.audit(unreachable, is_strict=False) == 0
    assert capsys.readouterr().out.startswith("audit: NOT DONE: the database of known faults (OSV)")
    assert audit.audit(unreachable, is_strict=True) == 1


def test_the_audit_fails_for_known_faults_and_for_errors(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert audit.audit(fake_uv(1, output="starlette 0.40: GHSA-x"), is_strict=False) == 1
    assert "GHSA-x" in capsys.readouterr().out
    assert audit.audit(fake_uv(0, output="no known faults"), is_strict=False) == 0
    assert audit.audit(fake_uv(2, "error: unexpected argument"), is_strict=False) == 2
    assert "unexpected argument" in capsys.readouterr().err


def test_uv_takes_the_audit_s_command(capsys: pytest.CaptureFixture[str]) -> None:
    """Kept offline, where the audit cannot be done: uv says so, after it has read its options."""
    assert audit.audit([*audit.COMMAND, "--offline"], is_strict=True) == 1
    assert capsys.readouterr().out.startswith("audit: NOT DONE")
