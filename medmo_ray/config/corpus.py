"""Recipe of a corpus: where raw data comes from and how it becomes samples."""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from medmo_ray.config.base import ClusterSettings, CoordinateFrame, RunSettings, Settings

Task = Literal[
    "caption", "report", "vqa", "text_qa", "grounding", "detection", "classification", "summarisation", "retrieval"
]


class GeneratedImages(Settings):
    """Microscopy-like images with exact boxes, drawn from the run's seed; no download is needed."""

    num_images: int = Field(600, ge=8)
    size_px: int = Field(96, ge=32, le=2048, description="height and width of each image")
    max_objects: int = Field(2, ge=1, le=200, description="cells and bacteria in an image, at most")


class VolumeSettings(Settings):
    """How DICOM and NIfTI files become pictures of 8 bits, and what is kept of whom they show."""

    window: tuple[float, float] | None = Field(
        None,
        description="lowest and highest value shown, e.g. [-160, 240]; unset: the file's window, else its percentiles",
    )
    num_slices: int = Field(
        9, ge=1, le=100, description="slices of a volume, evenly spaced, side by side in one picture"
    )
    columns: int = Field(3, ge=1, le=100, description="of that picture")
    patient_key_file: str | None = Field(
        None,
        description="secret bytes that patient and study ids are hashed with; unset: they are numbered in the table's order",
    )

    @model_validator(mode="after")
    def _window_has_width(self) -> "VolumeSettings":
        if self.window is not None and not self.window[0] < self.window[1]:
            raise ValueError(f"corpus.volumes.window is {list(self.window)}: the lowest value shown comes first")
        return self


BOX_LAYOUTS = ("generated", "voc", "coco", "yolo", "csv", "masks")
"""Layouts whose records are boxes; what is asked about them is composed."""
BOX_TASKS: tuple[Task, ...] = ("caption", "vqa", "detection", "text_qa")
"""What is composed of boxes when the recipe does not say; `text_qa` are facts that go with no image."""


class DatasetPart(Settings):
    """One dataset of a corpus of several."""

    source: str | None = Field(None, description="layout or dataset; unset: the dataset by the name it is given here")
    path: str = Field(description="its folder; a relative one starts at corpus.data_root")
    weight: float = Field(1, gt=0, le=100, description="how often its samples come in an epoch; 0.5: half of them do")
    cap: int | None = Field(None, ge=1, description="build only so many of its records, drawn by a hash of their ids")
    tasks: tuple[Task, ...] | None = Field(None, min_length=1, description="only these tasks; unset: all it has")
    train_on_held_out: bool = Field(
        False,
        description="train on what the dataset itself holds out; a tenth is held out anew, and every result says so",
    )
    modality: str | None = Field(None, description="of images of no registered dataset")
    licence: str | None = Field(None, description="of data of no registered dataset")
    label: str | None = Field(None, description="name of the objects, for `masks`")


class EvaluationSet(Settings):
    """Data that models are measured on, and that no training sample may hold."""

    source: str | None = Field(None, description="layout or dataset; unset: the dataset by the name it is given here")
    path: str = Field(description="its folder; a relative one starts at corpus.data_root")
    side: Literal["train", "held_out", "all"] = Field("held_out", description="records that are measured on")

    def recipe(self, name: str, data_root: str = ".") -> "CorpusRecipe":
        """The corpus recipe that reads it."""
        return CorpusRecipe(source=self.source or name, path=str(Path(data_root, self.path)), dataset=name)


class CorpusRecipe(Settings):
    """What `jobs/build_corpus.py` builds."""

    run: RunSettings = RunSettings()
    cluster: ClusterSettings = ClusterSettings(num_workers=2, use_gpu=False, cpus_per_worker=1, hardware="cpu")
    source: str = Field(
        "generated",
        description="layout of the raw data (generated, voc, coco, yolo, csv, masks, llava, dicom, nifti) or a dataset by its name",
    )
    path: str | None = Field(None, description="folder of the raw data; not for `generated`")
    datasets: dict[str, DatasetPart] = Field(
        {}, description="several datasets by name, in place of source and path: {slake: {path: Slake1.0, weight: 2}}"
    )
    data_root: str = Field(".", description="where relative paths of corpus.datasets start")
    purpose: Literal["research", "commercial"] = Field(
        "research", description="data whose licence does not allow it is refused"
    )
    evaluation: dict[str, EvaluationSet] = Field(
        {}, description="evaluation sets that training samples are held against: {vqa_rad: {path: VQA-RAD}}"
    )
    leaks: Literal["drop", "keep"] = Field(
        "drop", description="training records found in an evaluation set; keep: they stay, and every result says so"
    )
    dataset: str | None = Field(None, description="name in sample ids; unset: the folder's name in lower case")
    label: str = Field("cell", description="name of the objects, for `masks`, whose files carry no names")
    modality: str = Field("microscopy", description="what the images are, for prompts and tables")
    licence: str = Field("unknown", description="licence of the raw data, recorded with every sample")
    generated: GeneratedImages = GeneratedImages()
    volumes: VolumeSettings = VolumeSettings()
    tasks: tuple[Task, ...] | None = Field(
        None,
        min_length=1,
        description="samples to write; unset: all that a dataset has, caption, vqa, detection and text_qa of boxes",
    )
    frame: CoordinateFrame = Field(
        "pixel", description="frame of the boxes in prompts and answers, recorded with the corpus"
    )
    max_boxes_per_image: int = Field(100, ge=1, description="an image with more boxes goes to quarantine")
    held_out_share: float = Field(0.1, gt=0, lt=0.9, description="share of the images kept for measuring")
    shard_mb: float = Field(256, gt=0, description="target size of a Parquet shard")
    row_group_rows: int = Field(64, ge=1, description="rows of a row group, the unit of random access")
    max_bad_share: float = Field(
        0.01, ge=0, le=1, description="the build stops when more samples than this are unusable"
    )
    cap: int | None = Field(None, ge=1, description="build only so many records, drawn by a hash of their ids")
    train_on_held_out: bool = Field(
        False,
        description="train on what the dataset itself holds out: its records are divided anew, and every result says so",
    )
    num_files: int | None = Field(None, ge=1, description="read only so many raw images, for a quick look")

    @model_validator(mode="after")
    def _path_goes_with_source(self) -> "CorpusRecipe":
        if self.datasets:
            return self
        if self.source == "generated" and self.path is not None:
            raise ValueError(
                "corpus.path is given but corpus.source is 'generated': set source to the layout of the data, or drop path"
            )
        if self.source != "generated" and self.path is None:
            raise ValueError(f"corpus.source={self.source} needs corpus.path, the folder of the raw data")
        return self

    @model_validator(mode="after")
    def _datasets_stand_alone(self) -> "CorpusRecipe":
        given = (
            {"source", "path", "dataset", "tasks", "cap", "train_on_held_out"} & self.model_fields_set
            if self.datasets
            else set()
        )
        if set_here := sorted(name for name in given if getattr(self, name) != CorpusRecipe.model_fields[name].default):
            raise ValueError(
                f"corpus.datasets is given and so is {', '.join(set_here)}: say it for each dataset, under its name"
            )
        if unfit := [name for name in self.datasets if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", name)]:
            raise ValueError(
                f"corpus.datasets has names that folders and ids cannot hold: {', '.join(map(repr, unfit))}"
            )
        return self

    def parts(self) -> dict[str, "CorpusRecipe"]:
        """The recipe of each dataset of a corpus of several, by its name."""
        return {name: self._part(name, part) for name, part in self.datasets.items()}

    def _part(self, name: str, part: DatasetPart) -> "CorpusRecipe":
        source = part.source or name
        tasks = part.tasks
        if tasks is None and source in BOX_LAYOUTS:
            tasks = tuple(task for task in BOX_TASKS if task != "text_qa")  # the facts would come with each of them
        own = {key: value for key in ("modality", "licence", "label") if (value := getattr(part, key)) is not None}
        shared = {"path": str(Path(self.data_root, part.path)) if source != "generated" else None, "data_root": "."}
        values = self.model_dump() | own | shared
        values |= {"datasets": {}, "dataset": name, "source": source, "tasks": tasks, "cap": part.cap}
        values["train_on_held_out"] = part.train_on_held_out
        for evaluation in values["evaluation"].values():
            evaluation["path"] = str(Path(self.data_root, evaluation["path"]))
        return CorpusRecipe.model_validate(values)
