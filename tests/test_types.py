"""Plain values: frames, seeds, costs."""

import pytest
from pydantic import ValidationError

from serve_app.types import MAX_SEED, GenerationRequest, SamplingParams
from tests.fakes import LARGE, SMALL, TIMINGS


def test_an_absent_seed_is_drawn_for_each_request() -> None:
    drawn = [SamplingParams().seed, SamplingParams().seed]
    drawn.append(SamplingParams.model_validate({"seed": None}).seed)
    drawn.append(
        GenerationRequest(request_id="a", model="small", prompt="a", duration_s=1.0).sampling.seed
    )
    assert len(set(drawn)) == 4
    assert all(0 <= seed < 2**32 for seed in drawn)


@pytest.mark.parametrize("seed", [-1, MAX_SEED + 1, 1.5, "a"])
def test_other_seeds_are_refused(seed: object) -> None:
    with pytest.raises(ValidationError, match="seed"):
        SamplingParams.model_validate({"seed": seed})
    assert SamplingParams(seed=MAX_SEED).seed == MAX_SEED


@pytest.mark.parametrize("field", ["temperature", "top_p", "cfg_coef"])
def test_numbers_are_finite(field: str) -> None:
    with pytest.raises(ValidationError, match="finite number"):
        SamplingParams.model_validate({field: float("nan")})


def test_a_track_costs_its_share_of_the_replicas_hour() -> None:
    assert SMALL.price_per_hour == 1.2
    assert TIMINGS.compute_s == 1.5
    assert SMALL.cost_usd(TIMINGS) == 0.0005
    assert LARGE.cost_usd(TIMINGS) is None
