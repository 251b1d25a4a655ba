"""Options outside of `args`: unknown ones are refused; the known ones are Ray Serve's."""

from typing import Any

import pytest
import yaml
from ray.serve import schema

from serve_app.config import serve_schema
from tests.conftest import CONFIGS


def test_the_options_are_those_of_ray_serve() -> None:
    assert set(schema.ServeDeploySchema.model_fields) == serve_schema.TOP_LEVEL
    assert set(schema.ServeApplicationSchema.model_fields) == serve_schema.APPLICATION
    assert set(schema.HTTPOptionsSchema.model_fields) == serve_schema.HTTP_OPTIONS


@pytest.mark.parametrize("file", sorted(CONFIGS.glob("*.yaml")), ids=lambda file: file.name)
def test_the_configurations_have_no_fault(file: Any) -> None:
    assert serve_schema.faults(yaml.safe_load(file.read_text())) == []


@pytest.mark.parametrize(
    ("content", "faults"),
    [
        (None, ["it has no 'applications'"]),
        ({"a": 1}, ["it has no 'applications'"]),
        (
            {"applications": None},
            ["applications: must be a list with at least one application"],
        ),
        ({"applications": []}, ["applications: must be a list with at least one application"]),
        (
            {"applications": ["x"]},
            ["applications[0]: must be a mapping of options, but it is 'x'"],
        ),
        (
            {"applications": [{"arg": {}}], "http_options": {"prot": 1}, "zzz": 1},
            [
                "zzz: unknown option.",
                "http_options.prot: unknown option. Did you mean port?",
                "applications[0].arg: unknown option. Did you mean args?",
            ],
        ),
        (
            {"applications": [{}], "http_options": 8000},
            ["http_options: must be a mapping of options, but it is 8000"],
        ),
    ],
    ids=str,
)
def test_faults_are_listed(content: object, faults: list[str]) -> None:
    assert serve_schema.faults(content) == faults
