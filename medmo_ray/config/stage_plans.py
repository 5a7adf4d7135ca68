"""The plan of each job, from its recipe."""

import math

from medmo_ray.config.architecture import Architecture, architecture_of
from medmo_ray.config.corpus import BOX_TASKS, CorpusRecipe
from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.config.hardware import ACCELERATORS, HEADROOM
from medmo_ray.config.memory import GIB, Arithmetic, MicroBatch, training_memory
from medmo_ray.config.nearest import dapo_changes, nearest_that_fits
from medmo_ray.config.pipeline import PipelineRecipe
from medmo_ray.config.plan import (
    Plan,
    count,
    fits,
    hardware_lines,
    path_lacks,
    read_manifest,
    resolve,
    run_directory,
    shape_lines,
)
from medmo_ray.config.samples import count_samples, largest_image_tokens
from medmo_ray.config.sft import TuningSettings
from medmo_ray.config.sft_plan import plan_sft


def plan_corpus(recipe: CorpusRecipe) -> Plan:
    """Plan of `jobs/build_corpus.py`."""
    if recipe.datasets:
        return _plan_mixture(recipe)
    plan = Plan(f"corpus from {recipe.source}")
    if recipe.source == "generated":
        images, size = recipe.generated.num_images, recipe.generated.size_px
        plan.add("images", f"{images:,} drawn, {size} × {size} px", f"seed {recipe.run.seed}")
        tasks = len(recipe.tasks or BOX_TASKS)
        plan.add("samples", f"{images * tasks:,} at most", f"{images:,} images × {tasks} tasks")
        plan.add(
            "disk", f"about {images * 3 * size * size / 2**20:.0f} MiB at most", "3 bytes a pixel before compression"
        )
    else:
        folder = resolve(str(recipe.path))
        plan.add("raw data", str(folder), "corpus.path")
        if not folder.is_dir():
            plan.impossible.append(
                f"there is no folder {folder}: set corpus.path to the folder that holds the {recipe.source} data"
            )
    plan.add("to", str(run_directory(recipe.run) / "corpus"))
    return plan


def _plan_mixture(recipe: CorpusRecipe) -> Plan:
    plan = Plan(f"corpus of {len(recipe.datasets)} datasets")
    for name, part in recipe.parts().items():
        folder = resolve(str(part.path)) if part.path else None
        plan.add(f"dataset {name}", part.source, str(folder or "drawn"))
        if folder and not folder.is_dir():
            plan.lacks.append(f"the folder of {name}: there is no {folder}")
    plan.add("to", str(run_directory(recipe.run) / "corpus"))
    return plan


def plan_dapo(recipe: DapoRecipe) -> Plan:
    """Plan of `jobs/stage4_dapo.py`."""
    plan = Plan("stage 4, DAPO")
    run, prompts, algorithm = run_directory(recipe.run), recipe.prompts, recipe.algorithm
    corpus = resolve(prompts.corpus) if prompts.corpus else run / "corpus"
    before = run / "stage3" / "export"
    architecture = architecture_of(recipe.model, before)
    shape_lines(plan, architecture, recipe.model.path)
    total, origin = count_samples(read_manifest(corpus), prompts.tasks, prompts.expected_prompts)
    if prompts.num_prompts is not None and not math.isnan(total):
        total, origin = min(total, prompts.num_prompts), f"{origin}, at most num_prompts"
    steps = total * algorithm.epochs // recipe.prompts_per_step if not math.isnan(total) else math.nan
    if algorithm.max_steps is not None:
        steps = algorithm.max_steps if math.isnan(steps) else min(steps, algorithm.max_steps)
    plan.add("prompts", count(total), origin)
    plan.add(
        "completions of a step", f"{recipe.completions_per_step:,}",
        f"batch {algorithm.batch_per_worker} × accumulation {algorithm.accumulation} × workers "
        f"{recipe.cluster.num_workers} × updates {algorithm.updates_per_step}",
    )  # fmt: skip
    plan.add(
        "prompts of a step", f"{recipe.prompts_per_step:,}",
        f"{recipe.completions_per_step:,} / {algorithm.completions_per_prompt} completions a prompt",
    )  # fmt: skip
    plan.add("steps", count(steps), f"prompts × epochs {algorithm.epochs} / prompts of a step, at most max_steps")
    completions = steps * recipe.completions_per_step
    plan.add("completions", count(completions), "without those that dynamic sampling replaces")
    plan.add(
        "tokens generated", count(completions * prompts.expected_completion_tokens),
        f"{prompts.expected_completion_tokens} expected, {prompts.max_completion_tokens} at most "
        f"({count(completions * prompts.max_completion_tokens)})",
    )  # fmt: skip
    image = 0 if architecture is None else largest_image_tokens(architecture, prompts.image_side_px, prompts.max_pixels)
    plan.add("prompt", f"{prompts.max_prompt_tokens:,} tokens at most", f"an image takes up to {image:,} of them")
    if image > prompts.max_prompt_tokens:
        plan.impossible.append(
            f"an image of prompts.max_pixels={prompts.max_pixels:,} is {image:,} tokens, more than "
            f"prompts.max_prompt_tokens={prompts.max_prompt_tokens:,}: lower max_pixels to "
            f"{prompts.max_prompt_tokens * 32 * 32:,} or less"
        )
    plan.add("reward pool", f"{recipe.pool.replicas} replicas", "jobs/scale_rewards.py changes it while the run goes")
    memory, flops = _dapo_memory_and_flops(plan, recipe, architecture, image, steps)
    hardware_lines(plan, recipe.cluster, memory, flops)
    path_lacks(plan, recipe.model.path, before, corpus)
    return plan


def plan_pipeline(recipe: PipelineRecipe) -> Plan:
    """Plan of `jobs/pipeline.py`: the plans of all its parts."""
    recipe = recipe.joined()
    plan = Plan(f"pipeline into {run_directory(recipe.run)}")
    for part in (
        plan_corpus(recipe.corpus),
        *(plan_sft(stage) for stage in recipe.sft_stages()),
        plan_dapo(recipe.stage4),
    ):
        # What the pipeline builds itself is not there yet when it is planned.
        part.lacks = [
            lack for lack in part.lacks if not lack.startswith(("the model of the stage before", "the corpus"))
        ]
        plan.extend(part)
    return plan


def _dapo_memory_and_flops(
    plan: Plan, recipe: DapoRecipe, architecture: Architecture | None, image_tokens: int, steps: float
) -> tuple[float | None, float | None]:
    if architecture is None or recipe.cluster.hardware not in ACCELERATORS or not recipe.cluster.use_gpu:
        return None, None
    prompts = recipe.prompts
    state, training, rollout = _dapo_terms_gib(recipe, architecture, image_tokens)
    # verl lets vLLM sleep while the actor trains, so the two phases do not add up; the sharded state stays through both.
    memory = state + max(training, rollout)
    plan.add(
        "memory per GPU", f"{memory:.1f} GiB",
        f"state {state:.1f} + the larger of training {training:.1f} and vLLM {rollout:.1f} (it sleeps meanwhile)",
    )  # fmt: skip

    def needed_gib(changed: DapoRecipe) -> float:
        held, learns, samples = _dapo_terms_gib(changed, architecture, image_tokens)
        return max(held + learns, (1 - HEADROOM) * (held + samples))  # vLLM's share has its own headroom

    if not fits(needed_gib(recipe), recipe.cluster.hardware):
        hint = nearest_that_fits(recipe, dapo_changes(recipe), needed_gib)
        card, kind = ACCELERATORS[recipe.cluster.hardware].memory_gib, recipe.cluster.hardware
        plan.impossible.append(f"about {memory:.0f} GiB a GPU; {kind} has {card:g}: {hint}")
    weights = 2 * architecture.parameters / recipe.rollout.tensor_parallel / 2**30
    if weights > rollout:
        plan.impossible.append(
            f"vLLM's share ({rollout:.0f} GiB) is smaller than the weights ({weights:.0f} GiB): raise "
            "rollout.gpu_memory_share or rollout.tensor_parallel"
        )
    if math.isnan(steps):
        return memory, None
    text = prompts.max_prompt_tokens - image_tokens if image_tokens < prompts.max_prompt_tokens else 64
    forward = architecture.forward_flops(min(text, 128) + prompts.expected_completion_tokens, image_tokens)
    # Prefill and generation: 1 forward; log-probabilities: 1; update with recomputation: 4.
    return memory, steps * recipe.completions_per_step * 6 * forward


def _dapo_terms_gib(recipe: DapoRecipe, sizes: Architecture, image_tokens: int) -> tuple[float, float, float]:
    """Training state, what training takes beside it, and vLLM's share."""
    prompts, rows = recipe.prompts, recipe.algorithm.batch_per_worker
    tokens = rows * (prompts.max_prompt_tokens + prompts.max_completion_tokens)
    # verl keeps the logits of whole rows, and trains with recomputation.
    batch = MicroBatch(tokens, tokens, rows * image_tokens * sizes.merge**2)
    held = training_memory(sizes, Arithmetic(2, True, TuningSettings()), batch, recipe.cluster.num_workers)
    share = recipe.rollout.gpu_memory_share * ACCELERATORS[recipe.cluster.hardware].memory_gib
    return held.state / GIB, (held.in_flight + held.activations) / GIB, share
