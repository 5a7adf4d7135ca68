"""What every rank of a supervised stage is told, and where it writes."""

from dataclasses import dataclass
from pathlib import Path

from medmo_ray.config.sft import SftRecipe
from medmo_ray.model.store import Store


@dataclass(frozen=True)
class SftJob:
    """A supervised stage.

    Attributes:
        recipe: of the stage.
        directory: of the stage, on storage that all nodes share.
        model: Hugging Face directory or name to start from.
        corpus: directory with the manifest.
        lengths: tokens of each sample (`stream.lengths`), of a packed run.
        store_url: of this stage's checkpoints; None: they lie in its directory.
    """

    recipe: SftRecipe
    directory: Path
    model: Path
    corpus: Path
    lengths: Path | None = None
    store_url: str | None = None

    @property
    def checkpoints(self) -> Path:
        return self.directory / "checkpoints"

    @property
    def store(self) -> Store:
        """Where the checkpoints are."""
        return Store(self.store_url or str(self.checkpoints), self.recipe.checkpoint.retry_s)

    @property
    def export(self) -> Path:
        return self.directory / "export"

    @property
    def metrics(self) -> Path:
        return self.directory / "metrics.jsonl"

    @property
    def consumed(self) -> Path:
        """A file for each rank: the samples of each step."""
        return self.directory / "consumed"

    @property
    def incidents(self) -> Path:
        return self.directory / "incidents.jsonl"

    @property
    def stop_file(self) -> Path:
        """Is there once the driver was asked to end."""
        return self.directory / "stop"

    @property
    def heartbeats(self) -> Path:
        return self.directory / "heartbeats"
