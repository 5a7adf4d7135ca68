"""What plans say of memory against small models that are trained, and by hand for the real one."""

import sys
from pathlib import Path

import pytest

from medmo_ray.config.architecture import KNOWN
from medmo_ray.config.memory import Arithmetic, MicroBatch, head_bytes, training_memory
from medmo_ray.config.sft import TuningSettings

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))


@pytest.mark.parametrize(
    "case",
    [
        {"dtype": "bfloat16", "checkpointing": False},
        {"dtype": "bfloat16", "checkpointing": True},
        {"dtype": "float32", "checkpointing": True},
        {"packed": True, "rows": 4, "shortest": 16},
        {"tuning": {"lora": {"rank": 4}}},
        {"tuning": {"lora": {"rank": 4, "parts": ["language"]}, "frozen": ["vision"]}, "checkpointing": False},
        {"tuning": {"frozen": ["vision", "projector"], "cross_entropy": "chunked"}, "checkpointing": False},
    ],
    ids=str,
)
def test_each_term_is_what_a_trained_model_takes(case: dict) -> None:
    from bench_preflight import LIMIT, Case, measured

    error = measured(Case("0.2M", **{"text": 64, "side": 6, **case}))["error"]
    assert error["parameters"] == error["gradients"] == 0
    assert abs(error["optimizer"]) < 0.005  # a counter for each tensor beside its moments
    assert abs(error["kept"]) < LIMIT and abs(error["activations"]) < LIMIT, error


def test_the_state_of_the_real_model_by_hand() -> None:
    sizes = KNOWN["qwen3-vl-8b"]
    whole = training_memory(sizes, Arithmetic(2, True, TuningSettings()), MicroBatch(0, 0, 0), 64)
    assert whole.state == pytest.approx(16 * sizes.parameters / 64)
    frozen = Arithmetic(2, True, TuningSettings.model_validate({"frozen": ["vision", "projector"]}))
    held = training_memory(sizes, frozen, MicroBatch(0, 0, 0), 1)
    assert held.state == pytest.approx(16 * sizes.text_parameters + 4 * sizes.vision_parameters)
    # Embedding and head (2 × 151,936 × 4,096) in bfloat16, their gradients, and those again in float32.
    assert whole.in_flight == pytest.approx((2 + 2 + 4) * 2 * 151_936 * 4096)


def test_logits_are_counted_where_something_is_learnt() -> None:
    sizes, batch = KNOWN["qwen3-vl-8b"], MicroBatch(tokens=8192, learnt=4096, patches=0)
    entry = 14  # bytes: bfloat16, and three times float32
    for choice, held in (("whole", 4096), ("chunked", 1024)):
        how = Arithmetic(2, True, TuningSettings.model_validate({"cross_entropy": choice}))
        assert head_bytes(sizes, how, batch) == entry * 151_936 * held
    liger = Arithmetic(2, True, TuningSettings.model_validate({"cross_entropy": "liger"}))
    assert head_bytes(sizes, liger, batch) < entry * 151_936 * 1024
