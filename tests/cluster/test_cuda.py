"""One CUDA version, that of the lock file, and drivers for it, in every file that starts a GPU replica."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import ray
import yaml
from ray.autoscaler._private.util import prepare_config

from serve_app.doctor.gpu_software import DRIVERS, pytorch_cuda
from tests.cluster.test_files import CLUSTER, DOCKERFILE, OPERATIONS, pods
from tests.conftest import CONFIGS
from tests.sources import ROOT
from tests.test_supply_chain import EXTRAS

BUILDS = {"cu126", "cu130", "cu132"}  # of PyTorch 2.13, on its own index
CLOUDS = ["aws", "gcp"]
SETUP = CLUSTER / "setup-node.sh"
GPU_GROUPS = ["t4", "a10g", "l40s"]
FILES = sorted(file for file in CLUSTER.rglob("*") if file.is_file())
AWS_DEFAULTS = Path(ray.__file__).parent / "autoscaler/_private/aws/config.py"


def locked_cuda() -> str:
    """The CUDA version of the locked PyTorch, such as 13.0."""
    lock = (ROOT / "uv.lock").read_text()
    [version] = re.findall(r'^name = "cuda-toolkit"\nversion = "(\d+\.\d+)', lock, re.MULTILINE)
    return str(version)


CUDA = locked_cuda()
BUILD = f"cu{CUDA.replace('.', '')}"
DRIVER = DRIVERS[CUDA]


def cloud(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load((CLUSTER / f"{name}.yaml").read_text())
    return config


def gpu_nodes(name: str) -> dict[str, dict[str, Any]]:
    types = cloud(name)["available_node_types"]
    return {kind: node for kind, node in types.items() if "GPU" in node["resources"]}


def test_the_lock_s_pytorch_is_of_a_build_that_exists() -> None:
    assert BUILD in BUILDS
    assert pytorch_cuda() == CUDA


def test_the_image_needs_the_lock_s_cuda() -> None:
    text = DOCKERFILE.read_text()
    assert re.findall(r"^ARG CUDA=(\S+)$", text, re.MULTILINE) == [CUDA]
    assert 'NVIDIA_REQUIRE_CUDA="cuda>=${CUDA}"' in text
    assert f"-t musicgen-serve:{BUILD} ." in text
    arguments = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]["musicgen"][
        "build"
    ]["args"]
    assert arguments["CUDA"] == f"${{CUDA:-{CUDA}}}"


def test_the_image_has_a_compiler_for_triton() -> None:
    _, final = DOCKERFILE.read_text().rsplit("FROM ", 1)
    [packages] = re.findall(
        r'"\$TORCH_BACKEND" != cpu \]; then \\\s+apt-get install ([^;]*);', final
    )
    assert {"gcc", "libc6-dev"} <= {one.partition("=")[0] for one in packages.split()}


@pytest.mark.parametrize("group", GPU_GROUPS)
def test_kubernetes_takes_nodes_with_the_driver(group: str) -> None:
    spec = pods()[group]["spec"]
    images = {one["image"] for one in [*spec["containers"], *spec["initContainers"]]}
    assert {image.rpartition(":")[2] for image in images} == {BUILD}
    affinity = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    [term] = affinity["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "nvidia.com/cuda.driver.major", "operator": "Gt", "values": [str(DRIVER - 1)]}
    ]


def test_kubernetes_fetches_each_card_s_model_before_a_worker_joins() -> None:
    """Into the volume where the replica looks for it."""
    args = yaml.safe_load((CONFIGS / "all.yaml").read_text())["applications"][0]["args"]
    cards = {model["accelerator_type"].lower(): model for model in args["models"]}
    assert list(cards) == GPU_GROUPS
    for group, model in cards.items():
        spec = pods()[group]["spec"]
        [fetch] = [one for one in spec["initContainers"] if one["name"] == "weights"]
        loading = model["model_loading_config"]
        assert fetch["command"] == ["musicgen", "fetch", loading["model_id"]]
        assert loading["model_source"] == f"facebook/musicgen-{loading['model_id']}"
        [worker] = spec["containers"]
        assert fetch["volumeMounts"] == worker["volumeMounts"]
        assert fetch["image"] == worker["image"]


def test_google_s_image_has_the_driver() -> None:
    for node in cloud("gcp")["available_node_types"].values():
        [disk] = node["node_config"]["disks"]
        assert disk["initializeParams"]["sourceImage"].endswith(f"-nvidia-{DRIVER}")


def test_amazon_s_image_is_named_with_its_driver_and_is_not_ray_s_default() -> None:
    text = (CLUSTER / "aws.yaml").read_text()
    [driver] = re.findall(r"AMI \(Ubuntu 22\.04\) \d{8}, driver (\d+)\.", text)
    assert int(driver) >= DRIVER
    config = cloud("aws")
    images = {n["node_config"]["ImageId"] for n in config["available_node_types"].values()}
    [image] = images
    assert re.fullmatch(r"ami-[0-9a-f]{17}", image)
    assert image not in AWS_DEFAULTS.read_text()
    assert f"in {config['provider']['region']} only" in text


def test_a_node_with_an_older_driver_is_refused(tmp_path: Path) -> None:
    assert re.findall(r"^driver=(\d+)$", SETUP.read_text(), re.MULTILINE) == [str(DRIVER)]
    smi = tmp_path / "nvidia-smi"
    smi.write_text(f"#!/bin/sh\necho {DRIVER - 10}.1.2\n")
    smi.chmod(0o755)
    run = subprocess.run(
        ["bash", str(SETUP), "aws", "small"],
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert f"is {DRIVER - 10}.1.2, and {DRIVER} or later is needed" in run.stderr


@pytest.mark.parametrize("name", CLOUDS)
def test_each_node_installs_the_lock_and_fetches_its_model(name: str) -> None:
    config = prepare_config(cloud(name))
    command = f"bash ~/musicgen-serve/cluster/setup-node.sh {name}"
    assert config["head_setup_commands"] == [command]
    models = ["small", "medium", "large"]
    assert [node["worker_setup_commands"] for node in gpu_nodes(name).values()] == [
        [f"{command} {model}"] for model in models
    ]
    [sync] = re.findall(r'bin/uv" (sync .*)\)$', SETUP.read_text(), re.MULTILINE)
    extras = " ".join(f"--extra {extra}" for extra in EXTRAS)
    assert sync == f'sync --frozen --no-dev {extras} --extra "$cloud" --python 3.11'
    assert "docker" not in config or not config["docker"]


def test_google_s_cards_are_those_of_the_documented_configuration() -> None:
    [script] = re.findall(r"`sed '([^']+)' configs/all\.yaml > all-gcp\.yaml`", OPERATIONS)
    changed = subprocess.run(
        ["sed", script, str(CONFIGS / "all.yaml")], capture_output=True, text=True, check=True
    ).stdout
    models = yaml.safe_load(changed)["applications"][0]["args"]["models"]
    cards = {f"accelerator_type:{model['accelerator_type']}" for model in models}
    there = {card for node in gpu_nodes("gcp").values() for card in node["resources"]}
    assert cards == there - {"CPU", "GPU"}


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.relative_to(CLUSTER).as_posix())
def test_no_file_names_a_build_that_does_not_exist(file: Path) -> None:
    text = re.sub(r"common-cu\d+-\S+", "", file.read_text())  # Google's name of an image
    assert set(re.findall(r"\bcu\d{3}\b", text)) <= BUILDS
    assert set(re.findall(r"\bCUDA (\d+\.\d+)", text)) <= {CUDA}
    assert set(re.findall(r"\bdriver (\d{3}) or later", text)) <= {str(DRIVER), "560"}


def test_older_drivers_have_a_build() -> None:
    [build, version] = re.findall(
        r"TORCH_BACKEND=(cu\d+) --build-arg CUDA=(\d+\.\d+)`", OPERATIONS
    )[0]
    assert build in BUILDS
    assert f"cu{version.replace('.', '')}" == build
    assert f"driver {DRIVERS[version]} or later build with" in " ".join(OPERATIONS.split())
    for name in ("Dockerfile", "compose.yaml"):
        text = " ".join((CLUSTER / name).read_text().replace("#", "").split())
        assert build in text
        assert str(DRIVERS[version]) in text


def test_the_image_holds_compiled_kernels_where_triton_looks_for_them() -> None:
    """Triton's cache names its files by absolute paths: it is filled at the place where it stays."""
    text = (CLUSTER / "Dockerfile").read_text()
    [filled] = re.findall(r"TRITON_CACHE_DIR=(\S+) .*-m tools\.compile_kernels", text)
    [looked_for] = re.findall(r"^ +TRITON_CACHE_DIR=(\S+) \\$", text, re.MULTILINE)
    assert f"COPY --from=build --chown=1000:1000 {filled} {looked_for}\n" in text
    assert filled == looked_for
    assert "serve_app" not in "".join(re.findall(r"^COPY .* /compile\S*$", text, re.MULTILINE))
    needed = {"tools/__init__.py", "tools/compile_kernels.py"}
    assert needed <= set(re.findall(r"tools/\w+\.py", text))
    ignored = (CLUSTER.parent / ".dockerignore").read_text().splitlines()
    assert {f"!{file}" for file in needed} <= set(ignored)


def test_the_weights_are_there_before_the_composed_service_starts() -> None:
    services = yaml.safe_load((CLUSTER / "compose.yaml").read_text())["services"]
    weights = services["weights"]
    assert services["musicgen"]["depends_on"] == {
        "weights": {"condition": "service_completed_successfully"}
    }
    assert weights["command"] == ["musicgen", "fetch", "configs/${CONFIG:-small}.yaml"]
    assert weights["image"] == services["musicgen"]["image"]
    assert weights["volumes"] == services["musicgen"]["volumes"]
