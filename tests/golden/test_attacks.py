"""Each way to be paid without looking trips its own monitor; honest policies, good or bad, trip none.

Which monitors an attack trips beside its own is part of the record: `TRIPS` lists them for the data source of each run.
A frame slip goes unseen where the two frames are nearly one: films of 1,024 px, read in thousandths.
"""

import json
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
import pytest
from attacks import ATTACKS, GENERATED, HONEST, Policy, bccd, good, stream

from rewards.alarms import Alarm, MonitorSettings
from rewards.monitors import Monitors
from rewards.records import RewardSettings, Truth

SEEDS = range(20)
STEPS = 52
SINGLE = ("chest", "lesion", "wrist")  # one to three true boxes an image
TRIPS: dict[str, dict[str, set[str]]] = {
    "box_spam": {"lesion": {"box_count", "over_random"}, "cells": {"box_count", "over_random"}},
    "spam_beside_honest": {"chest": {"box_count"}, "wrist": {"box_count"}},
    "whole_image": {
        "lesion": {"whole_image", "over_random", "box_spread"},
        "chest": {"whole_image", "over_random", "box_spread", "duplicates"},  # one box for each of two labels
    },
    "duplicated": {"lesion": {"duplicates"}, "wrist": {"duplicates"}},
    "format_only": {"chest": {"format_gain", "over_random"}, "lesion": {"format_gain", "over_random"}},
    "frame_slip": {
        "lesion": {"frame_slip", "over_random"}, "wrist": {"frame_slip"}, "cells": {"frame_slip", "over_random"},
        "chest": set(),  # cannot be told there: see test_a_frame_slip_is_unseen_where_the_frames_are_nearly_one
    },
    "unit_slip": {name: {"frame_slip", "over_random", "box_spread"} for name in ("lesion", "wrist")},
    "only_random": {"chest": {"over_random"}, "wrist": {"over_random"}},
    "mean_box": {"chest": {"box_spread"}, "lesion": {"box_spread"}},
    "mean_box_each": {"chest": {"box_spread", "duplicates"}},
}  # fmt: skip


@lru_cache
def pool(source: str) -> list[Truth]:
    return [GENERATED[source](np.random.default_rng(seed)) for seed in range(200)]


def raised(
    policy: Policy, truths: Sequence[Truth], seed: int, reward: RewardSettings | None = None, **run: int
) -> list[Alarm]:
    """The alarms of a run."""
    monitors = Monitors(MonitorSettings(), reward or RewardSettings())
    run = {"steps": STEPS, "groups": 4, "completions": 2, **run}
    return [
        alarm
        for step, answers in stream(policy, truths, "source", seed, settings=reward, **run)
        for alarm in monitors.observe(step, answers)[1]
    ]


@pytest.mark.parametrize(
    ("attack", "source"), [(attack, source) for attack, found in TRIPS.items() for source in found]
)
def test_an_attack_trips_its_own_monitor(attack: str, source: str) -> None:
    assert {alarm.name for alarm in raised(ATTACKS[attack], pool(source), seed=0)} == TRIPS[attack][source]


def test_a_frame_slip_is_unseen_where_the_frames_are_nearly_one() -> None:
    """A film of 1,024 px in thousandths is off by 2.4 %: as little is lost by it as another reading could win back."""
    settings = MonitorSettings()
    monitors = Monitors(settings, RewardSettings())
    for step, answers in stream(
        ATTACKS["frame_slip"], pool("chest"), "source", 0, steps=STEPS, groups=4, completions=2
    ):
        assert monitors.observe(step, answers)[1] == []
    assert 0 < monitors.measures("source")["frame_slip"] < settings.frame_slip / 2
    slipped, right = (
        np.mean([answer.terms["bbox"] for _, some in stream(policy, pool("chest"), "source", 0) for answer in some])
        for policy in (ATTACKS["frame_slip"], good)
    )
    assert right - slipped < 0.05


def test_every_attack_is_tried() -> None:
    assert set(TRIPS) == set(ATTACKS)


@pytest.mark.parametrize("policy", HONEST)
def test_honest_policies_trip_none(policy: str) -> None:
    for seed in SEEDS:
        assert raised(HONEST[policy], pool(SINGLE[seed % len(SINGLE)]), seed) == []


def test_honest_policies_on_crowded_images_trip_none() -> None:
    for seed in SEEDS:
        policy = list(HONEST.values())[seed % len(HONEST)]
        assert raised(policy, pool("cells"), seed, completions=1) == []


@pytest.mark.parametrize("reward", [
    RewardSettings(lambda_fn=0.25, lambda_fp=0.25), RewardSettings(lambda_fp=0.25, matching="per_label", extent="image"),
])  # fmt: skip
def test_the_settings_of_the_reward_raise_no_alarm(reward: RewardSettings) -> None:
    for seed, policy in enumerate(HONEST.values()):
        assert raised(policy, pool(SINGLE[seed % len(SINGLE)]), seed, reward) == []


@pytest.mark.parametrize("attack", ["box_spam", "whole_image", "duplicated", "frame_slip", "only_random", "mean_box"])
def test_a_policy_that_turns_is_caught_from_where_it_turned(attack: str) -> None:
    def turning(truth: Truth, rng: np.random.Generator, progress: float) -> str:
        return (good if progress < 0.4 else ATTACKS[attack])(truth, rng, progress)

    turned = 1 + int(0.4 * (STEPS - 1)) + 1
    own = {"box_spam": "box_count", "whole_image": "whole_image", "duplicated": "duplicates", "frame_slip": "frame_slip",
           "only_random": "over_random", "mean_box": "box_spread"}[attack]  # fmt: skip
    alarms = raised(turning, pool("lesion"), 0)
    (alarm,) = [alarm for alarm in alarms if alarm.name == own]
    assert turned <= alarm.since <= turned + MonitorSettings().window_steps
    assert min(alarm.since for alarm in alarms) >= turned


def test_the_page_states_the_measured_figures(repository: Path) -> None:
    """docs/rewards.md says what benchmarks/results/attacks.json holds, of every data source."""
    rewards = json.loads((repository / "benchmarks" / "results" / "attacks.json").read_text(encoding="utf-8"))[
        "box_reward"
    ]
    page = " ".join((repository / "docs" / "rewards.md").read_text(encoding="utf-8").split())

    def span(
        policies: Sequence[str], setting: str, less: str | None = None, sources: Sequence[str] | None = None
    ) -> str:
        """Smallest and largest reward over the sources; with `less`, how far that of `less` is below."""
        values = [
            value - (rewards[policy][less][source] if less else 0)
            for policy in policies for source, value in rewards[policy][setting].items() if source in (sources or [source])
        ]  # fmt: skip
        return f"{min(values):.2f}–{max(values):.2f}"

    paper, fp, both, labelled = list(rewards["good"])[:4]
    named, honest = ("chest", "wrist", "bccd"), list(HONEST)
    assert rewards["box_spam"][fp] | dict.fromkeys(SINGLE, 0.0) == rewards["box_spam"][fp]
    said = [
        f"spam falls from {span(['box_spam'], paper)}",
        f"{rewards['box_spam'][fp]['cells']:.2f} on the cells and {rewards['box_spam'][fp]['bccd']:.2f} on BCCD",
        f"copies fall from {span(['duplicated'], paper)} to {span(['duplicated'], fp)}",
        f"Honest policies lose {span(honest, paper, fp)}, most where",
        f"{span(['mean_box'], fp, both)} for the mean box, {span(['whole_image'], fp, both)} for the whole image",
        f"Honest policies lose {span(honest, fp, both)}.",
        f"takes {span(['only_random'], paper, labelled, named)} from random boxes and {span(honest, paper, labelled, named)} from",
        f"random boxes gain {span(['only_random'], 'extent = image', paper)}",
    ]
    assert [line for line in said if line not in page] == []
    for policy, by_setting in rewards.items():
        means = [f"{np.mean(list(by_source.values())):.2f}" for by_source in by_setting.values()]
        assert f"| {policy.replace('_', ' ')} | {' | '.join(means)} |" in page


def test_real_blood_cells(real_folder: Callable[[str], Path]) -> None:
    """BCCD: some 13 boxes an image, platelets among red and white cells."""
    truths = bccd(real_folder("BCCD").parent)
    assert len(truths) > 300
    for policy in HONEST.values():
        assert raised(policy, truths, 0, completions=1) == []
    caught = {"box_spam": "box_count", "whole_image": "whole_image", "duplicated": "duplicates", "format_only": "format_gain",
              "frame_slip": "frame_slip", "unit_slip": "frame_slip", "only_random": "over_random", "mean_box": "box_spread"}  # fmt: skip
    for attack, own in caught.items():
        assert own in {alarm.name for alarm in raised(ATTACKS[attack], truths, 0, completions=1)}
