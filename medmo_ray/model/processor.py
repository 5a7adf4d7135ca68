"""What a checkpoint says about its inputs, read from its files: colours, patches, chat template."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medmo_ray.errors import ConfigError
from medmo_ray.stream.images import MERGE, PATCH_PX
from medmo_ray.stream.render import check_template

_PATCHES = {"patch_size": PATCH_PX, "merge_size": MERGE, "temporal_patch_size": 2}


@dataclass(frozen=True)
class Colours:
    """Mean and spread of each colour channel, in 0 … 1, that pixels are normalised with."""

    mean: tuple[float, ...]
    std: tuple[float, ...]


def local_directory(model: str | Path) -> Path:
    """The directory of a model; a Hugging Face name is fetched into, or found in, this node's cache.

    Raises:
        ConfigError: there is no such directory, and no such model can be had.
    """
    if Path(model).is_dir():
        return Path(model)
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

    try:
        return Path(snapshot_download(str(model)))
    except (HFValidationError, HfHubHTTPError, LocalEntryNotFoundError) as error:
        raise ConfigError(
            f"{model} is no directory on this node, and no model of that name could be fetched ({error}): set model.path "
            "to a Hugging Face directory on storage that every node sees"
        ) from error


def read_colours(model: Path) -> Colours:
    """Colours of a model's image processor.

    Raises:
        ConfigError: no processor there, or one that cuts images in another way than Qwen3-VL.
    """
    settings = _image_processor(model)
    other = {name: settings.get(name) for name, value in _PATCHES.items() if settings.get(name) != value}
    if other:
        raise ConfigError(
            f"The image processor in {model} has {other}; Qwen3-VL's, which is trained here, has {_PATCHES}"
        )
    return Colours(tuple(settings["image_mean"]), tuple(settings["image_std"]))


def check_chat_template(model: Path) -> None:
    """Make sure that training writes conversations as the model's own template does.

    Raises:
        ConfigError: there is no template, or it writes another form.
    """
    from transformers.utils.chat_template_utils import render_jinja_template

    text = _chat_template(model)

    def rendered(messages: list[dict[str, Any]]) -> str:
        return render_jinja_template(conversations=[messages], chat_template=text)[0][0]

    check_template(rendered)


def _image_processor(model: Path) -> dict[str, Any]:
    for name in ("preprocessor_config.json", "processor_config.json"):
        if (model / name).is_file():
            settings = json.loads((model / name).read_text(encoding="utf-8"))
            found = settings.get("image_processor", settings)
            if "image_mean" in found:
                return found
    raise ConfigError(f"{model} has no image processor (preprocessor_config.json): copy it from the base model into it")


def _chat_template(model: Path) -> str:
    if (model / "chat_template.jinja").is_file():
        return (model / "chat_template.jinja").read_text(encoding="utf-8")
    for name in ("chat_template.json", "tokenizer_config.json"):
        if (model / name).is_file():
            template = json.loads((model / name).read_text(encoding="utf-8")).get("chat_template")
            if isinstance(template, str):
                return template
    raise ConfigError(f"{model} has no chat template: copy chat_template.jinja from the base model into it")
