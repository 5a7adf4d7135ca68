"""What cheating is paid, attack by attack and setting by setting, beside honest policies; and how far the monitors tell
them apart.

    python benchmarks/bench_attacks.py                    # generated truths, and the blood cells of BCCD where they are at hand
    python benchmarks/bench_attacks.py --data FOLDER      # of FOLDER/BCCD; else of MEDMO_TEST_DATA or ../shared/data

Each figure of the first table is the mean box reward of a policy's completions, written and read as text: the mean over the data sources of
the mean over their completions. The policies and truths are those that the monitors are tested with
(tests/examples/attacks.py); the same completions are scored under every setting.

The second table has, for each monitor, the smallest and the largest value over all windows (after the steps of grace) of the
honest policies' runs, and of the runs of the attack that it is made for.
"""

import argparse
import json
import os
import sys
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"
sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "examples"))

import numpy as np
from attacks import ATTACKS, GENERATED, HONEST, Policy, bccd, stream
from tqdm import tqdm

from rewards.alarms import MonitorSettings
from rewards.monitors import Monitors
from rewards.records import RewardSettings, ScoreRequest, Truth
from rewards.scorer import Scorer

SETTINGS = {
    "paper": RewardSettings(),
    "λ_FP = 0.25": RewardSettings(lambda_fp=0.25),
    "λ_FN = λ_FP = 0.25": RewardSettings(lambda_fn=0.25, lambda_fp=0.25),
    "per_label": RewardSettings(matching="per_label"),
    "extent = image": RewardSettings(extent="image"),
    "λ_FP = 0.25, per_label": RewardSettings(lambda_fp=0.25, matching="per_label"),
    "λ_FN = λ_FP = 0.5, per_label": RewardSettings(lambda_fn=0.5, lambda_fp=0.5, matching="per_label"),
}
DATA = Path(os.environ.get("MEDMO_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
NUM_TRUTHS, COMPLETIONS = 80, 4
PROGRESS = 0.5  # of the policies that change
RUNS, STEPS = 2, 52  # of a policy on a data source, and how long each is
MADE_FOR = {
    "box_count": "box_spam", "whole_image": "whole_image", "duplicates": "duplicated", "format_gain": "format_only",
    "frame_slip": "frame_slip", "over_random": "only_random", "box_spread": "mean_box",
}  # fmt: skip
RESULTS = Path(__file__).parent / "results" / "attacks.json"


def measure(policy: Policy, pools: dict[str, list[Truth]], seed: int) -> dict[str, dict[str, float]]:
    """Mean box reward by setting, then by data source."""
    rng = np.random.default_rng(seed)
    found: dict[str, dict[str, float]] = {name: {} for name in SETTINGS}
    for source, pool in pools.items():
        requests = [
            ScoreRequest("", policy(truth, rng, PROGRESS), truth.to_json(), 0, source)
            for truth in pool
            for _ in range(COMPLETIONS)
        ]
        for name, settings in SETTINGS.items():
            scores = Scorer(settings).score(requests)
            found[name][source] = float(np.mean([score.terms["bbox"] for score in scores]))
    return found


def table(rewards: dict[str, dict[str, dict[str, float]]]) -> str:
    """Markdown: a row a policy, a column a setting, the mean over the data sources."""
    lines = ["| policy | " + " | ".join(SETTINGS) + " |", "|---" * (len(SETTINGS) + 1) + "|"]
    for policy, by_setting in rewards.items():
        means = [f"{np.mean(list(by_setting[name].values())):.2f}" for name in SETTINGS]
        lines.append(f"| {policy.replace('_', ' ')} | " + " | ".join(means) + " |")
    return "\n".join(lines)


def windows(policy: Policy, pools: dict[str, list[Truth]]) -> dict[str, dict[str, list[float]]]:
    """Each measure's smallest and largest window, by data source."""
    found: dict[str, dict[str, list[float]]] = {}
    for source, pool in pools.items():
        ranges = found.setdefault(source, {})
        for seed in range(RUNS):
            monitors = Monitors(MonitorSettings(), RewardSettings())
            for step, answers in stream(policy, pool, source, seed, steps=STEPS):
                monitors.observe(step, answers)
                if step > MonitorSettings().grace_steps:
                    for name, value in monitors.measures(source).items():
                        low, high = ranges.get(name, (value, value))
                        ranges[name] = [min(low, value), max(high, value)]
    return found


def separation(measured: dict[str, dict[str, dict[str, list[float]]]]) -> str:
    """Markdown: a row a monitor."""
    lines = ["| monitor | threshold | honest policies | its attack |", "|---|---|---|---|"]
    for monitor, attack in MADE_FOR.items():
        cells = []
        for policies in (list(HONEST), [attack]):
            ranges = [by_name[monitor] for policy in policies for by_name in measured[policy].values()]
            cells.append(f"{min(low for low, _ in ranges):.2f} … {max(high for _, high in ranges):.2f}")
        threshold = getattr(MonitorSettings(), monitor)
        lines.append(f"| `{monitor}` | {threshold:g} | {cells[0]} | {attack.replace('_', ' ')}: {cells[1]} |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder that holds BCCD/; else see above")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = np.random.default_rng(given.seed)
    pools = {source: [make(rng) for _ in range(NUM_TRUTHS)] for source, make in GENERATED.items()}
    if (given.data / "BCCD").is_dir():
        pools["bccd"] = bccd(given.data)[:NUM_TRUTHS]
    else:
        print(f"without the blood cells: {given.data / 'BCCD'} is not there (see --data)", file=sys.stderr)
    policies = {**HONEST, **ATTACKS}
    rewards = {name: measure(policy, pools, given.seed) for name, policy in tqdm(policies.items())}
    measured = {name: windows(policies[name], pools) for name in tqdm([*HONEST, *MADE_FOR.values()])}
    RESULTS.parent.mkdir(exist_ok=True)
    RESULTS.write_text(
        json.dumps({"num_truths": {s: len(p) for s, p in pools.items()}, "completions_per_truth": COMPLETIONS,
                    "seed": given.seed, "box_reward": rewards, "windows": measured}, indent=1, ensure_ascii=False) + "\n", encoding="utf-8",
    )  # fmt: skip
    print(table(rewards), separation(measured), sep="\n\n")


if __name__ == "__main__":
    main()
