"""Every subject is examined in the order of a start; a broken configuration is a problem."""

import re
from pathlib import Path

import pytest
import yaml

from serve_app.doctor import Level, examine
from serve_app.machine import free_port
from tests.conftest import CONFIGS

FIRST = ["Python", "packages", "audio", "memory", "configuration"]
REST = ["disk", "GPU", "ports", "keys", "signing", "Ray's token", "weights"]


@pytest.mark.parametrize("name", ["nano", "small", "all"])
def test_every_subject_is_examined(name: str) -> None:
    findings = list(examine(CONFIGS / f"{name}.yaml", free_port()))
    assert list(dict.fromkeys(finding.subject for finding in findings)) == FIRST + REST
    assert all(finding.level is Level.OK or finding.advice for finding in findings)


@pytest.mark.parametrize(
    ("content", "state"),
    [
        (None, "no such file or directory. This package has: all, "),
        ("a: [", "is not a readable YAML file"),
        ("a: 1", "is not a Serve configuration"),
        ("[]", "is not a Serve configuration"),
        ("applications: []", "is not a Serve configuration"),
        ("applications: [{name: a}]", "config.yaml: args: Input should be a valid dictionary"),
        ("applications: [{args: {models: []}}]", "config.yaml: models: .* at least 1 item"),
        ("applications: [{args: {tempo: 1}}]", "config.yaml: models: Field required"),
    ],
)
def test_a_broken_configuration_is_a_problem(
    tmp_path: Path, content: str | None, state: str
) -> None:
    config = tmp_path / "config.yaml"
    if content is not None:
        config.write_text(content)
    *_, last = examine(config, free_port())
    assert (last.subject, last.level) == ("configuration", Level.PROBLEM)
    assert re.search(state, last.state)
    assert last.advice


def test_a_configuration_of_ones_own(tmp_path: Path) -> None:
    content = yaml.safe_load((CONFIGS / "nano.yaml").read_text())
    config = tmp_path / "mine.yaml"
    config.write_text(yaml.safe_dump(content))
    findings = {finding.subject: finding for finding in examine(config, free_port())}
    assert findings["configuration"].state == str(config)
