"""The trained learners that come with the course: load one, or train it again by its recipe."""

from pathlib import Path

from torch import nn

from kshot import checkpoint
from kshot.devices import device
from kshot.recipes import MEASURED, RECIPES
from kshot.run import History
from kshot.train import fit


def pretrained(name: str) -> nn.Module:
    """A learner with the weights shipped under `name`, in evaluation mode.

    Raises KeyError naming what there is.
    """
    path = checkpoint.shipped(name)
    learner = RECIPES[name].build() if name in RECIPES else MEASURED[name]()
    checkpoint.load(path, learner)
    return learner.eval()


def train(name: str, path: Path | str, on: str = "cpu") -> History:
    """Train the learner called `name` by its recipe, on the device called `on`, and save it at `path`."""
    recipe = RECIPES[name]
    return fit(
        recipe.build().to(device(on)),
        recipe.tasks(),
        steps=recipe.steps,
        batch=recipe.batch,
        validation=recipe.validation(),
        checkpoint=path,
        learning_rate=recipe.learning_rate,
        schedule="cosine",
        validate_every=recipe.validate_every,
        validation_episodes=recipe.validation_episodes,
    )
