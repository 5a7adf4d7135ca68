"""What verl will make of a prompt, compared with what was counted when the prompts were written."""

from collections.abc import Sequence
from typing import Any

from verl.utils.tokenizer import build_multimodal_processor_inputs

from medmo_ray.errors import DataError
from medmo_ray.stream.images import CELL_PX

NUM_PROBES = 8


def check_prompts(dataset: Any, processor: Any) -> None:
    """Send a few prompts, spread over the set, through verl's reading and the model's processor.

    A prompt whose image tokens are not those of its image fails after hours, in the middle of a step.

    Args:
        dataset: verl's, over the prompts.
        processor: the model's.

    Raises:
        DataError: names the sample and both numbers.
    """
    step = max(1, len(dataset) // NUM_PROBES)
    for index in range(0, len(dataset), step):
        row = dataset[index]
        messages = row["raw_prompt"]
        images, _, _ = dataset._process_multi_modal_info(messages, dataset.image_patch_size, dataset.config)
        text = processor.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
        inputs = build_multimodal_processor_inputs(
            processor, text=[text], images=images, mm_processor_kwargs=dict(dataset.config.mm_processor_kwargs)
        )
        check_prompt(row["extra_info"]["id"], images or [], inputs, processor.image_token_id, dataset.max_prompt_length)


def check_prompt(sample: str, images: Sequence[Any], inputs: Any, image_token: int, max_tokens: int) -> None:
    """Check one prompt after expansion.

    Args:
        sample: its id.
        images: as verl hands them to the processor.
        inputs: what the processor made: input_ids [1, L] and image_grid_thw [images, 3].
        image_token: id of the image placeholder.
        max_tokens: of a prompt.

    Raises:
        DataError: see `check_prompts`.
    """
    ids = inputs["input_ids"][0]
    num_image_tokens = int((ids == image_token).sum())
    expected = sum((image.width // CELL_PX) * (image.height // CELL_PX) for image in images)
    grid = sum(int(cells.prod()) // 4 for cells in inputs["image_grid_thw"]) if images else 0
    if not num_image_tokens == expected == grid:
        raise DataError(
            f"prompt {sample}: its images of {[image.size for image in images]} px take {expected} tokens, the processor made "
            f"{num_image_tokens} of them and a grid for {grid}: the processor resizes, or cuts patches of another size"
        )
    if len(ids) > max_tokens:
        raise DataError(
            f"prompt {sample}: {len(ids)} tokens after its images are expanded, and {max_tokens} are allowed"
        )
