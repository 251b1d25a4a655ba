"""Checks before Ray starts: each failure is one message with a cure, and an exit code."""

import copy
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import psutil
import pytest
import yaml

from serve_app.config.serve_file import read_serve_config
from serve_app.launch import preflight
from serve_app.launch.error import CONFIGURATION, OTHER, LaunchError
from serve_app.machine import free_port
from tests.conftest import CONFIGS
from tests.credentials import expired_pair, pair, stored
from tests.sources import ROOT

KEYS = "web:0123456789abcdef"
MOST_S = 60.0  # on a machine whose cores are all busy: a start of Ray alone may take as long
Change = Callable[[dict[str, Any], dict[str, Any]], None]


def changed(change: Change) -> dict[str, Any]:
    """The configuration of nano, changed. change: gets the content and the application's args."""
    content: dict[str, Any] = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    content = copy.deepcopy(content)
    change(content, content["applications"][0]["args"])
    return content


def require_keys(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["api"]["access"]["require_keys"] = True


def unknown_option(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["api"]["max_body_byte"] = 1


def no_watermark(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["provenance"] = {"watermark": {"generator_file": "/none/generator.safetensors"}}


def no_diffusion(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["models"][0]["engine_kwargs"] = {"multiband_diffusion_source": "/none/mbd"}


def no_trust_list(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["provenance"] = {"trust_anchors_file": "/none/root.pem"}


def require_signing(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["provenance"]["required"] = True


def no_folder(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["models"][0]["model_loading_config"]["model_source"] = "/none/such"


def no_adapter(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["models"][0]["model_loading_config"]["adapter_source"] = [{"source": "/none/such/lora"}]


def gpu(_: dict[str, Any], args: dict[str, Any]) -> None:
    args["models"][0]["accelerator_type"] = "T4"


def check(content: dict[str, Any], port: int | None = None) -> None:
    preflight.check(Path("x.yaml"), content, "127.0.0.1", port or free_port())


def fault(content: dict[str, Any], port: int | None = None) -> LaunchError:
    with pytest.raises(LaunchError) as caught:
        check(content, port)
    return caught.value


def test_a_good_configuration_passes() -> None:
    check(read_serve_config(CONFIGS / "nano.yaml"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (require_keys, "x.yaml: API keys are required, and there are none. Put `name:key` into"),
        (
            require_signing,
            "x.yaml: provenance.required: true needs a certificate and a private key",
        ),
        (no_watermark, "x.yaml: /none/generator.safetensors: there is no such file. Convert"),
        (no_diffusion, "x.yaml: /none/mbd: there is no such file. Convert the published file once"),
        (no_trust_list, "x.yaml: provenance.trust_anchors_file: /none/root.pem cannot be read: No"),
        (unknown_option, "- api.max_body_byte: unknown option. Did you mean max_body_bytes?"),
        (
            no_adapter,
            "x.yaml: '/none/such/lora' is neither a folder nor the id of a hub repository.",
        ),
        (no_folder, "x.yaml: '/none/such' is neither a folder nor the id of a hub repository."),
    ],
)
def test_what_the_configuration_lacks_is_named(change: Change, message: str) -> None:
    error = fault(changed(change))
    assert message in str(error)
    assert error.exit_code == CONFIGURATION == 2


@pytest.mark.parametrize(
    ("package", "options"),
    [
        ("audiocraft", {"multiband_diffusion_source": "/none/mbd"}),
        ("demucs", {"melody_stems": "demucs"}),
    ],
)
def test_extras_that_a_model_needs_are_named(
    package: str, options: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def found(name: str) -> object:
        return None if name == package else find_spec(name)

    def configure(_: dict[str, Any], args: dict[str, Any]) -> None:
        args["models"][0]["engine_kwargs"] = options

    monkeypatch.setattr(preflight, "find_spec", found)
    error = fault(changed(configure))
    assert f"needs the extra `{package}`, which is not installed" in str(error)
    assert f"uv sync --extra {package}" in str(error)
    assert error.exit_code == CONFIGURATION


def test_packages_that_a_runtime_env_cannot_install_are_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """This Python may have no pip, which is said, too: tests/launch/test_runtime_env.py."""
    monkeypatch.setenv("PIP_NO_INDEX", "1")

    def install(content: dict[str, Any], _: dict[str, Any]) -> None:
        content["applications"][0]["runtime_env"] = {"pip": ["no-such-package-of-ours"]}

    error = fault(changed(install))
    assert "remove `pip` from the runtime_env" in str(error)
    assert error.exit_code == OTHER


@pytest.mark.parametrize("place", ["shell", "application", "ingress"])
def test_keys_count_wherever_the_ingress_finds_them(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    content = changed(require_keys)
    [application] = content["applications"]
    environment = {"runtime_env": {"env_vars": {"MUSICGEN_API_KEYS": KEYS}}}
    if place == "shell":
        monkeypatch.setenv("MUSICGEN_API_KEYS", KEYS)
    elif place == "application":
        application |= environment
    else:
        application["args"]["ingress_deployment_config"]["ray_actor_options"] |= environment
    check(content)


@pytest.mark.parametrize("place", ["shell", "application", "ingress"])
def test_credentials_count_wherever_the_ingress_finds_them(
    monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    content = changed(require_signing)
    [application] = content["applications"]
    variables = {
        "MUSICGEN_C2PA_CERTIFICATE": pair().chain.decode(),
        "MUSICGEN_C2PA_PRIVATE_KEY": pair().private_key.decode(),
    }
    environment = {"runtime_env": {"env_vars": variables}}
    if place == "shell":
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
    elif place == "application":
        application |= environment
    else:
        application["args"]["ingress_deployment_config"]["ray_actor_options"] |= environment
    check(content)


def test_an_expired_certificate_ends_the_start(tmp_path: Path) -> None:
    options = stored(tmp_path, expired_pair()).model_dump(exclude_defaults=True)
    error = fault(changed(lambda _, args: args.update(provenance=options)))
    assert "expired on" in str(error)
    assert error.exit_code == CONFIGURATION


@pytest.mark.parametrize("builder", ["mine:build", "serve_app.app:build_app"])
def test_a_further_application_of_another_builder_is_left_to_it(builder: str) -> None:
    content = changed(lambda *_: None)
    [other] = changed(unknown_option)["applications"]
    content["applications"].append(other | {"import_path": builder})
    if builder == "mine:build":
        check(content)
    else:
        assert "max_body_byte: unknown option" in str(fault(content))


def test_the_port_of_another_interface_is_left_to_the_edge() -> None:
    content = changed(lambda *_: None)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        preflight.check(Path("x.yaml"), content, "192.0.2.1", taken.getsockname()[1])


@pytest.mark.parametrize("option", ["accelerator_type", "device", "num_gpus"])
def test_a_missing_gpu_is_named(monkeypatch: pytest.MonkeyPatch, option: str) -> None:
    def change(_: dict[str, Any], args: dict[str, Any]) -> None:
        [model] = args["models"]
        if option == "accelerator_type":
            model["accelerator_type"] = "T4"
        elif option == "device":
            model["engine_kwargs"]["device"] = "cuda"
        else:
            model["deployment_config"]["ray_actor_options"] = {"num_gpus": 1}

    monkeypatch.setattr(preflight, "has_nvidia_gpu", lambda: False)
    error = fault(changed(change))
    kind = " of type T4" if option == "accelerator_type" else ""
    assert str(error).startswith(f"Model 'nano' needs a GPU{kind}, and this machine has none")
    assert error.exit_code == OTHER == 1
    monkeypatch.setattr(preflight, "has_nvidia_gpu", lambda: True)
    check(changed(change))


def test_a_model_that_starts_at_zero_replicas_needs_no_gpu_yet(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def change(content: dict[str, Any], args: dict[str, Any]) -> None:
        gpu(content, args)
        deployment = args["models"][0]["deployment_config"]
        del deployment["num_replicas"]
        deployment["autoscaling_config"] = {"min_replicas": 0, "max_replicas": 1}

    monkeypatch.setattr(preflight, "has_nvidia_gpu", lambda: False)
    check(changed(change))


def test_a_taken_port_is_named_with_its_owner() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        error = fault(changed(lambda *_: None), port)
    assert str(error) == (
        f"Port {port} is taken by {psutil.Process().name()} ({psutil.Process().pid}). Stop that program, "
        f"or choose another port: --port {port + 1} (make serve PORT={port + 1})."
    )
    assert error.exit_code == OTHER


def test_a_lack_of_memory_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=2**30))
    error = fault(changed(lambda *_: None))
    assert str(error).startswith("Only 1.0 GiB of memory are free, and Ray with one small replica")
    assert error.exit_code == OTHER


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "find_spec", lambda name: None if name == "ray" else object())
    error = fault(changed(lambda *_: None))
    assert str(error).startswith(
        "Missing packages: ray. Install this package with its dependencies"
    )


@pytest.mark.parametrize(
    ("change", "code", "message", "lines"),
    [
        (require_keys, 2, "API keys are required", 1),
        (unknown_option, 2, "Did you mean max_body_bytes?", 2),
        (no_folder, 2, "'/none/such'", 1),
    ],
)
def test_the_command_ends_within_seconds_with_one_message(
    tmp_path: Path, change: Change, code: int, message: str, lines: int
) -> None:
    file = tmp_path / "config.yaml"
    file.write_text(yaml.safe_dump(changed(change)))
    command = [sys.executable, "-m", "serve_app.launcher", str(file), "--port", str(free_port())]
    started_at = time.monotonic()
    run = subprocess.run(command, capture_output=True, text=True, cwd=ROOT, check=False)
    assert time.monotonic() - started_at < MOST_S
    assert run.returncode == code
    assert message in run.stderr
    assert len(run.stderr.strip().splitlines()) == lines
    assert run.stdout == f"Starting {file} (Ctrl-C stops it)\n"
    assert "Traceback" not in run.stderr
    assert "\x1b" not in run.stderr
