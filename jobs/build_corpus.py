"""Build a corpus: raw images with boxes → checked samples in Parquet, with a manifest and a quarantine file.

generated:   python jobs/build_corpus.py recipes/rehearsal/corpus.yaml
own data:    python jobs/build_corpus.py source=voc path=/data/blood run.name=blood
a cluster:   ray job submit --working-dir . -- python jobs/build_corpus.py source=voc path=/data/blood run.name=blood
"""

from pathlib import Path

from medmo_ray.config.command import command
from medmo_ray.config.corpus import CorpusRecipe
from medmo_ray.config.stage_plans import plan_corpus

DEFAULT = Path(__file__).parents[1] / "recipes" / "corpus.yaml"


def run(recipe: CorpusRecipe) -> None:
    from medmo_ray.pipeline import build_corpus_of_run

    build_corpus_of_run(recipe)


if __name__ == "__main__":
    command(CorpusRecipe, run, plan_corpus, description=__doc__, default=DEFAULT)
