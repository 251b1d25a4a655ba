"""Errors cross process borders whole."""

import pickle

from serve_app.errors import InvalidRequest, PromptTooLong, QueueFull


def test_errors_survive_pickling() -> None:
    error = pickle.loads(pickle.dumps(QueueFull("Too many wait.", retry_after_s=2.5)))
    assert (type(error), error.message, error.retry_after_s) == (QueueFull, "Too many wait.", 2.5)


def test_the_field_at_fault_crosses_ray() -> None:
    for error, field in ((InvalidRequest("a", field="n"), "n"), (PromptTooLong("a"), "prompt")):
        copy = pickle.loads(pickle.dumps(error))
        assert (copy.field, copy.message) == (field, "a")
