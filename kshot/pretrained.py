"""The trained learners that come with the course, and how each is made."""

from collections.abc import Callable
from dataclasses import dataclass, field

from torch import nn

from kshot import checkpoint
from kshot.data import dataset
from kshot.learners.metric import Matching, Metric, Prototypical, Relation, Siamese
from kshot.nets import Conv4
from kshot.tasks import FewShot
from kshot.train import History, fit


@dataclass(frozen=True)
class Recipe:
    """How a shipped checkpoint is made: `python benchmarks/train.py NAME`."""

    build: Callable[[], nn.Module]
    data: str
    steps: int
    ways: int = 40
    queries: int = 5
    learning_rate: float = 2e-3
    fit: dict = field(default_factory=dict)


def _maps() -> Conv4:
    return Conv4(pools=(True, True, False, False), flatten=False)


RECIPES = {
    "protonet_omniglot": Recipe(lambda: Prototypical(Conv4()), "omniglot", steps=5000),
    "protonet_glyphs": Recipe(lambda: Prototypical(Conv4()), "glyphs", steps=3000),
    "siamese_omniglot": Recipe(lambda: Siamese(Conv4()), "omniglot", steps=2000),
    "matching_omniglot": Recipe(lambda: Matching(Conv4()), "omniglot", steps=2000),
    "relation_omniglot": Recipe(lambda: Relation(_maps()), "omniglot", steps=2000, ways=10, queries=3),
}


def pretrained(name: str) -> nn.Module:
    """A learner with the weights shipped under `name`, in evaluation mode.

    Raises KeyError naming what there is.
    """
    path = checkpoint.shipped(name)
    learner: Metric = RECIPES[name].build()
    checkpoint.load(path, learner)
    return learner.eval()


def train(name: str, path: str, **overrides) -> History:
    """Train the learner called `name` by its recipe and save it at `path`."""
    recipe = RECIPES[name]
    characters = dataset(recipe.data)
    settings = dict(
        steps=recipe.steps,
        learning_rate=recipe.learning_rate,
        schedule="cosine",
        validate_every=500,
        validation_episodes=100,
    )
    return fit(
        recipe.build(),
        FewShot(characters.split("train").images, recipe.ways, 1, recipe.queries, rotations=True),
        validation=FewShot(characters.split("validation").images, 20, 1, 5),
        checkpoint=path,
        **(settings | recipe.fit | overrides),
    )
