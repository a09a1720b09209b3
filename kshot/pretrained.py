"""The trained learners that come with the course, and how each is made."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from kshot import checkpoint
from kshot.data import glyphs, omniglot
from kshot.learners.metric import Matching, Prototypical, Relation, Siamese
from kshot.nets import Conv4
from kshot.run import History
from kshot.tasks import FewShot
from kshot.train import fit


@dataclass(frozen=True)
class Recipe:
    """How a shipped checkpoint is made: `python benchmarks/train.py NAME`.

    images:   () -> uint8 [C, D, 1, 28, 28] of the training characters; each rotation counts as another character
    validate: () -> the same of the characters that choose the best step, 20-way 1-shot
    """

    build: Callable[[], nn.Module]
    images: Callable[[], Tensor]
    validate: Callable[[], Tensor]
    steps: int
    ways: int = 40
    queries: int = 5
    learning_rate: float = 2e-3


def _omniglot(build: Callable[[], nn.Module], steps: int, **rest) -> Recipe:
    return Recipe(
        build,
        lambda: omniglot().split("train").images,
        lambda: omniglot().split("validation").images,
        steps,
        **rest,
    )


def _unseen_glyphs() -> Tensor:
    # Seed 0 is what lectures and homeworks draw from: none of its alphabets may be trained on.
    return torch.cat([glyphs(seed).images for seed in (1, 2)])


def _maps() -> Conv4:
    return Conv4(pools=(True, True, False, False), flatten=False)


RECIPES = {
    "protonet_omniglot": _omniglot(lambda: Prototypical(Conv4()), steps=14_000),
    "siamese_omniglot": _omniglot(lambda: Siamese(Conv4()), steps=5000),
    "matching_omniglot": _omniglot(lambda: Matching(Conv4()), steps=5000),
    "relation_omniglot": _omniglot(lambda: Relation(_maps()), steps=5000, ways=10, queries=3),
    "protonet_glyphs": Recipe(
        lambda: Prototypical(Conv4()), _unseen_glyphs, lambda: glyphs(0).split("validation").images, steps=3000
    ),
}


def pretrained(name: str) -> nn.Module:
    """A learner with the weights shipped under `name`, in evaluation mode.

    Raises KeyError naming what there is.
    """
    path = checkpoint.shipped(name)
    learner = RECIPES[name].build()
    checkpoint.load(path, learner)
    return learner.eval()


def train(name: str, path: Path | str) -> History:
    """Train the learner called `name` by its recipe and save it at `path`."""
    recipe = RECIPES[name]
    return fit(
        recipe.build(),
        FewShot(recipe.images(), recipe.ways, 1, recipe.queries, rotations=True),
        steps=recipe.steps,
        validation=FewShot(recipe.validate(), 20, 1, 5),
        checkpoint=path,
        learning_rate=recipe.learning_rate,
        schedule="cosine",
        validate_every=500,
        validation_episodes=100,
    )
