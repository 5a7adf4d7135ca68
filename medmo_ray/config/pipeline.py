"""Recipe of the whole walk: corpus, three supervised stages, DAPO, report."""

from pathlib import Path

from pydantic import Field

from medmo_ray.config.base import ClusterSettings, RunSettings, Settings
from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.config.sft import SftRecipe


class PipelineRecipe(Settings):
    """What `jobs/pipeline.py` runs. The run and cluster settings here hold for every stage."""

    run: RunSettings = RunSettings()
    name_by_data: bool = Field(
        True, description="append the folder's name to run.name when the corpus is not generated"
    )
    cluster: ClusterSettings | None = Field(
        None, description="replaces each stage's own; unset: each stage keeps its own"
    )
    corpus: CorpusRecipe = CorpusRecipe()
    stage1: SftRecipe = SftRecipe(stage=1)
    stage2: SftRecipe = SftRecipe(stage=2)
    stage3: SftRecipe = SftRecipe(stage=3)
    stage4: DapoRecipe = DapoRecipe()

    def joined(self) -> "PipelineRecipe":
        """Every part under one run and, if set here, on one cluster.

        Data of another origin gets a run directory of its own: `rehearsal` becomes `rehearsal-bccd` for a folder BCCD.
        """
        run = self.run
        if self.name_by_data and self.corpus.path:
            run = run.model_copy(update={"name": f"{run.name}-{Path(self.corpus.path).name.lower()}"})
        changes: dict[str, object] = {"run": run} | ({"cluster": self.cluster} if self.cluster else {})
        parts = {name: getattr(self, name) for name in ("corpus", "stage1", "stage2", "stage3", "stage4")}
        joined = {name: part.model_copy(update=changes) for name, part in parts.items()}
        return self.model_copy(update={"run": run, "name_by_data": False, **joined})

    def sft_stages(self) -> tuple[SftRecipe, SftRecipe, SftRecipe]:
        """The supervised stages in their order."""
        return self.stage1, self.stage2, self.stage3
