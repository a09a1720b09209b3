"""How each shipped checkpoint is made: the learner, its tasks, and its training."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from kshot.data import glyphs, omniglot
from kshot.episodes import TaskDistribution
from kshot.learners.attention import SNAIL, InContextTransformer
from kshot.learners.fast_weights import MetaNetwork
from kshot.learners.gradient import MAML, Reptile
from kshot.learners.memory import MANN, LSTMLearner
from kshot.learners.metric import Matching, Prototypical, Relation, Siamese
from kshot.learners.neural_process import NeuralProcess
from kshot.nets import Conv4
from kshot.tasks import FewShot, LinearRegression
from kshot.tasks.order import Shuffled


@dataclass(frozen=True)
class Recipe:
    """A learner and its training: `python benchmarks/train.py NAME`.

    build:      () -> the learner, untrained
    tasks:      () -> what it is trained on, `batch` tasks a step
    validation: () -> the tasks that choose the best step
    """

    build: Callable[[], nn.Module]
    tasks: Callable[[], TaskDistribution]
    validation: Callable[[], TaskDistribution]
    steps: int
    batch: int = 1
    learning_rate: float = 2e-3
    validate_every: int = 500
    validation_episodes: int = 100


def _omniglot(part: str) -> Tensor:
    return omniglot().split(part).images


def _unseen_glyphs() -> Tensor:
    # Seed 0 is what lectures and homeworks draw from: none of its alphabets may be trained on.
    return torch.cat([glyphs(seed).images for seed in (1, 2)])


def _many_ways(images: Callable[[], Tensor], ways: int, queries: int) -> Callable[[], FewShot]:
    return lambda: FewShot(images(), ways, 1, queries, rotations=True)


def _compared(build: Callable[[], nn.Module], steps: int, **rest) -> Recipe:
    """A metric learner of lecture 05, with 64 filters, chosen on 20-way 1-shot tasks."""
    ways, queries = rest.pop("ways", 40), rest.pop("queries", 5)
    return Recipe(
        build,
        _many_ways(lambda: _omniglot("train"), ways, queries),
        lambda: FewShot(_omniglot("validation"), 20, 1, 5),
        steps,
        **rest,
    )


def _maps() -> Conv4:
    return Conv4(pools=(True, True, False, False), flatten=False)


RECIPES = {
    "protonet_omniglot": _compared(lambda: Prototypical(Conv4()), steps=14_000),
    "siamese_omniglot": _compared(lambda: Siamese(Conv4()), steps=5000),
    "matching_omniglot": _compared(lambda: Matching(Conv4()), steps=5000),
    "relation_omniglot": _compared(lambda: Relation(_maps()), steps=5000, ways=10, queries=3),
    "protonet_glyphs": Recipe(
        lambda: Prototypical(Conv4()),
        _many_ways(_unseen_glyphs, 40, 5),
        lambda: FewShot(glyphs(0).split("validation").images, 20, 1, 5),
        steps=3000,
    ),
}


def _family(build: Callable[[int], nn.Module], ways: int, steps: int, batch: int, **rest) -> Recipe:
    """One of lecture 06's three families: the same backbone (`_small`), about the same CPU time, chosen at its ways."""
    queries = {"queries": 3 if ways == 5 else 1}
    return Recipe(
        lambda: build(ways),
        lambda: Shuffled(FewShot(_omniglot("train"), ways, 1, rotations=True, **queries)),
        lambda: Shuffled(FewShot(_omniglot("validation"), ways, 1, 5 if ways == 5 else 2)),
        steps,
        batch,
        validate_every=max(1, steps // 10),
        **rest,
    )


def _small() -> Conv4:
    return Conv4(32)


# By name: the learner for N ways, and for each N the steps and the tasks a step.
FAMILIES = {
    "protonet": (lambda ways: Prototypical(_small()), {5: (7000, 8), 20: (6000, 4)}),
    "maml": (lambda ways: MAML(_small(), ways, rate=0.4, evaluation_steps=3), {5: (2200, 8), 20: (1900, 4)}),
    "first_order": (lambda ways: MAML(_small(), ways, steps=5, rate=0.1, order=1), {5: (1300, 8), 20: (2400, 4)}),
    "anil": (lambda ways: MAML(_small(), ways, steps=3, rate=0.1, adapts="head"), {5: (3600, 8), 20: (4000, 4)}),
    "reptile": (lambda ways: Reptile(_small(), ways, steps=5, rate=0.1), {5: (900, 8), 20: (2000, 4)}),
    "lstm": (lambda ways: LSTMLearner(_small(), ways=ways), {5: (5000, 8), 20: (4000, 4)}),
    "mann": (lambda ways: MANN(_small(), ways=ways), {5: (4000, 8), 20: (3000, 4)}),
    "meta_network": (lambda ways: MetaNetwork(_small(), ways=ways), {5: (4000, 8), 20: (3500, 4)}),
    "neural_process": (lambda ways: NeuralProcess(_small(), ways=ways, width=256), {5: (5000, 8), 20: (4000, 4)}),
    "snail": (lambda ways: SNAIL(_small(), ways=ways, shots=1), {5: (4000, 8), 20: (3000, 4)}),
}
RATES = {"lstm": 4e-3, "meta_network": 4e-3}  # where the outer learning rate is not 2e-3
RECIPES |= {
    "in_context_linear": Recipe(
        lambda: InContextTransformer(5, layers=3, width=64, heads=2, points=11),
        lambda: LinearRegression(5, shots=10, queries=1),
        lambda: LinearRegression(5, shots=10, queries=1),
        steps=22_000,
        batch=64,
        learning_rate=1e-3,
        validate_every=2200,
        validation_episodes=1000,
    ),
}
RECIPES |= {
    f"{name}_omniglot_{ways}way": _family(build, ways, steps, batch, learning_rate=RATES.get(name, 2e-3))
    for name, (build, sizes) in FAMILIES.items()
    for ways, (steps, batch) in sizes.items()
}


def perceptron(seed: int = 0) -> nn.Sequential:
    """The net of the sinusoids, 1-40-40-1 with ReLU (Finn et al., 2017), in PyTorch's own initialisation."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        return nn.Sequential(nn.Linear(1, 40), nn.ReLU(), nn.Linear(40, 40), nn.ReLU(), nn.Linear(40, 1))


# Made by a benchmark that measures them as it trains: `python benchmarks/sinusoid.py --save`, curves.py likewise. The
# tuned inner rate is in the checkpoint, whatever is said here.
MEASURED = {
    "sinusoid_maml": lambda: MAML(perceptron()),
    "sinusoid_first_order": lambda: MAML(perceptron(), order=1),
    "sinusoid_anil": lambda: MAML(perceptron(), adapts="head"),
    "sinusoid_reptile": lambda: Reptile(perceptron()),
    "sinusoid_joint": lambda: MAML(perceptron()),  # fine-tuned as MAML is; its start was trained jointly
    "curves_cnp": lambda: NeuralProcess(inputs=1, targets=1),
    "curves_lstm": lambda: LSTMLearner(inputs=1, targets=1),
}
