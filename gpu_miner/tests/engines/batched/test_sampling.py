"""A job's sampling parameters."""

import pytest

from gpu_miner.engines.base import EngineJob
from gpu_miner.engines.batched.sampling import Sampling, sampling_of
from gpu_miner.errors import EngineError


def sampling(defaults: dict[str, object] | None = None, **params: object) -> Sampling:
    return sampling_of(EngineJob("j", (), params=params), defaults or {}, 256)


def test_what_a_job_leaves_open_is_as_the_models_makers_want_it() -> None:
    assert sampling({"temperature": 0.6, "top_k": 20}, top_k=5) == Sampling(256, temperature=0.6, top_k=5)


def test_senseless_defaults_of_a_model_are_passed_over() -> None:
    assert sampling({"temperature": "hot", "top_p": 7}) == Sampling(256)


def test_no_job_writes_more_than_the_miner_allows() -> None:
    assert sampling(max_tokens=9_999).max_tokens == 256
    assert sampling(max_tokens=7).max_tokens == 7


@pytest.mark.parametrize("params", [{"temperature": 0}, {"top_k": 1}, {"top_p": 0}])
def test_three_ways_to_ask_for_the_best_token_only(params: dict[str, object]) -> None:
    assert sampling(**params).is_greedy
    assert not sampling().is_greedy


@pytest.mark.parametrize(
    "params",
    [
        {"temperature": -1},
        {"temperature": float("nan")},
        {"top_p": 1.5},
        {"top_k": True},
        {"frequency_penalty": "2"},
        {"seed": 1.5},
        {"seed": 2**70},
        {"stop": [str(number) for number in range(17)]},
        {"stop": "x" * 201},
        {"response_format": {"type": "yaml"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
    ],
)
def test_senseless_parameters_are_the_jobs_fault(params: dict[str, object]) -> None:
    with pytest.raises(EngineError) as caught:
        sampling(**params)
    assert (caught.value.code, caught.value.retryable) == ("bad_request", False)


def test_response_formats_become_schemas() -> None:
    schema = {"type": "object", "required": ["city"]}
    assert sampling(response_format={"type": "text"}).schema is None
    assert sampling(response_format={"type": "json_object"}).schema == {}
    assert sampling(response_format={"type": "json_schema", "json_schema": {"schema": schema}}).schema == schema
