"""Recipe of the whole walk: corpus, three supervised stages, DAPO, report."""

from pydantic import Field

from medmo_ray.config.base import ClusterSettings, RunSettings, Settings
from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.config.dapo import DapoRecipe
from medmo_ray.config.sft import SftRecipe


class PipelineRecipe(Settings):
    """What `jobs/pipeline.py` runs. The run and cluster settings here hold for every stage."""

    run: RunSettings = RunSettings()
    cluster: ClusterSettings | None = Field(None, description="replaces each stage's own; unset: each stage keeps its own")
    corpus: CorpusRecipe = CorpusRecipe()
    stage1: SftRecipe = SftRecipe(stage=1)
    stage2: SftRecipe = SftRecipe(stage=2)
    stage3: SftRecipe = SftRecipe(stage=3)
    stage4: DapoRecipe = DapoRecipe()
