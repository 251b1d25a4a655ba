"""The library's JSON of untrusted files: any part may be missing, or something else."""

from typing import Any

import pytest

from serve_app.marks import DIGITAL_SOURCE_TYPE
from serve_app.provenance.manifest_store import active_manifest, assertion_data, says_generated

ACTIONS = {
    "label": "c2pa.actions.v2",
    "data": {"actions": [{"digitalSourceType": DIGITAL_SOURCE_TYPE}]},
}


def test_an_action_says_generated() -> None:
    store = {"active_manifest": "a", "manifests": {"a": {"assertions": [ACTIONS]}}}
    assert says_generated(active_manifest(store))


@pytest.mark.parametrize(
    "store",
    [
        {},
        {"active_manifest": "b", "manifests": {"a": {"assertions": [ACTIONS]}}},
        {"active_manifest": "a", "manifests": []},
        {"active_manifest": "a", "manifests": {"a": {"assertions": [1, {"label": 2}]}}},
        {"active_manifest": "a", "manifests": {"a": {"assertions": [ACTIONS | {"data": "x"}]}}},
    ],
)
def test_anything_else_says_nothing(store: dict[str, Any]) -> None:
    assert not says_generated(active_manifest(store))


def test_assertions_are_found_by_the_beginning_of_their_labels() -> None:
    assert assertion_data({"assertions": [ACTIONS]}, "c2pa.actions") == [ACTIONS["data"]]
    assert assertion_data({"assertions": [ACTIONS]}, "cawg.metadata") == []
