"""From checked records to samples."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.corpus import facts
from medmo_ray.corpus.records import Checked
from medmo_ray.corpus.sample import IMAGE_PLACEHOLDER, Sample
from medmo_ray.corpus.tasks import IMAGE_TASKS, Seen
from medmo_ray.corpus.wording import hash_number
from medmo_ray.errors import ConfigError

TEXT_TASK = "text_qa"


def check_tasks(recipe: CorpusRecipe) -> None:
    """Refuse tasks that boxes are not enough for.

    Raises:
        ConfigError: Names them.
    """
    known = (*IMAGE_TASKS, TEXT_TASK)
    if missing := [task for task in recipe.tasks if task not in known]:
        raise ConfigError(
            f"corpus.tasks has {', '.join(missing)}, which boxes are not enough for. "
            f"From corpus.source={recipe.source} come: {', '.join(known)}."
        )


@dataclass(frozen=True)
class Composer:
    """Writes the samples of a corpus.

    Attributes:
        recipe: Tasks, modality, licence and frame.
        dataset: Name in sample ids.
        access: How the raw data is had.
        vocabulary: Every label of the dataset, sorted.
    """

    recipe: CorpusRecipe
    dataset: str
    access: str
    vocabulary: tuple[str, ...]

    def of_record(self, checked: Checked, split: str) -> Iterator[Sample]:
        """The samples of one record, one for each task, in the recipe's order."""
        if checked.annotated.conversation:
            task = "vqa" if checked.images else TEXT_TASK
            yield self._sample(checked, split, task, checked.annotated.conversation)
            return
        seen = Seen(
            key=f"{self.recipe.run.seed}/{checked.record.key}",
            modality=self.recipe.modality,
            boxes=checked.boxes,
            width_px=checked.images[0].image.width_px,
            vocabulary=self.vocabulary,
            frame=self.recipe.frame,
        )
        for task in self.recipe.tasks:
            if task in IMAGE_TASKS:
                yield self._sample(checked, split, task, IMAGE_TASKS[task](seen))

    def _sample(self, checked: Checked, split: str, task: str, turns: Sequence[str]) -> Sample:
        raw, record = checked.annotated, checked.record
        shown = "".join(f"{IMAGE_PLACEHOLDER}\n" for _ in checked.images)
        return Sample(
            id=f"{self.dataset}:{split}:{record.key}/{task}",
            dataset=self.dataset,
            split=split,
            task=task,
            messages=_messages((shown + turns[0], *turns[1:])),
            images=tuple(c.image for c in checked.images),
            boxes=checked.boxes,
            answer=turns[-1],
            modality=self.recipe.modality,
            licence=self.recipe.licence,
            access=self.access,
            origin_file=record.file,
            origin_row=record.row,
            body_system=raw.body_system,
            patient_id=raw.patient_id,
            study_id=raw.study_id,
        )


def text_samples(count: int, recipe: CorpusRecipe) -> dict[str, list[Sample]]:
    """Text-only samples by split; wordings of one fact stay on one side."""
    seed = recipe.run.seed
    samples: dict[str, list[Sample]] = {"train": [], "held_out": []}
    for row, text in enumerate(facts.texts(count, seed)):
        split = "held_out" if hash_number(seed, text.group) < recipe.held_out_share * 2**64 else "train"
        samples[split].append(
            Sample(
                id=f"{facts.DATASET}:{split}:{text.key}",
                dataset=facts.DATASET,
                split=split,
                task=TEXT_TASK,
                messages=_messages((text.question, text.answer)),
                images=(),
                boxes=(),
                answer=text.answer,
                modality=None,
                licence=facts.LICENCE,
                access="generated",
                origin_file="medmo_ray/corpus/facts.py",
                origin_row=row,
            )
        )
    return samples


def _messages(turns: Sequence[str]) -> str:
    roles = ("user", "assistant")
    return json.dumps([{"role": roles[i % 2], "content": text} for i, text in enumerate(turns)], ensure_ascii=False)
