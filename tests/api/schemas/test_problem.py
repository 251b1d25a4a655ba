"""Errors in JSON."""

from serve_app.api.schemas.problem import Problem
from serve_app.errors import QueueFull


def test_the_documented_fields_are_those_of_a_problem() -> None:
    body = QueueFull("Later.").problem_details
    assert list(body) == list(Problem.model_fields)
    assert Problem.model_validate(body).code == "queue_full"
