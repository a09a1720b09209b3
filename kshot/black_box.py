"""What all black-box learners share: embedded pairs with a label slot go in, one answer a query comes out."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot.episodes import Episodes, one_hot
from kshot.nets import Conv4, Statistics


class Context(NamedTuple):
    """What a black-box learner keeps of D_train: h, and the statistics that normalised its images."""

    h: Any  # LSTM: its state; neural process: a mean; transformer: keys and values
    statistics: Statistics


@contextmanager
def weights_from(seed: int) -> Iterator[None]:
    """Draw the weights of the modules built inside from `seed`, and leave the global generator as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)  # torch.manual_seed would reseed the GPUs too
        yield


class BlackBox(nn.Module):
    """y = f(D_train, x) as one network; a subclass says how it reads the support and answers a query.

    net:     embeds images [T, B, *x] (a Conv4), or None where the inputs are vectors [T, B, inputs] already
    inputs:  numbers an embedded input has; for a net that gives `channels` of them it need not be said
    ways:    N, to predict class ids; or targets: d, to predict numbers [T, Q, d]

    The label slot beside an input holds the one-hot class or the target; for a query it is zero. Each query is
    answered on its own. Raises ValueError unless exactly one of `ways` and `targets` is given.
    """

    def __init__(self, net: Conv4 | None, *, inputs: int | None, ways: int | None, targets: int | None, **settings):
        super().__init__()
        if (ways is None) == (targets is None):
            raise ValueError("say what is predicted: ways=N for class ids or targets=d for numbers, one of the two")
        if net is None and inputs is None:
            raise ValueError("without a net the inputs are vectors: say how long they are, with inputs=d")
        self.net, self.ways, self.targets = net, ways, targets
        self.inputs = net.channels if inputs is None else inputs
        self.outputs = ways or targets  # width of the label slot
        self._settings = settings

    def extra_repr(self) -> str:
        built_for = {"ways": self.ways} if self.ways else {"targets": self.targets}
        every = {"inputs": self.inputs, **built_for, **self._settings}
        return ", ".join(f"{name}={value}" for name, value in every.items())

    @property
    def transductive(self) -> bool:
        """Whether a prediction depends on the task's other queries (through batch statistics)."""
        return self.net is not None and self.net.transductive

    def read(self, z: Tensor, labels: Tensor) -> Any:
        """The context h of embedded pairs: z [T, S, D] and label slots [T, S, N or d]."""
        raise NotImplementedError

    def answer(self, h: Any, z: Tensor) -> Tensor:
        """Logits [T, Q, N] or predictions [T, Q, d] of embedded queries z [T, Q, D], each on its own."""
        raise NotImplementedError

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Context:
        """Read the support [T, S, *x]: weights do not change, what was learned is the context.

        Raises ValueError for a transductive learner, which must see support and queries together.
        """
        if self.transductive:
            raise ValueError("this learner is transductive: call learner(support_x, support_y, query_x) in one go")
        z, statistics = self._embed(support_x)
        return Context(self.read(z, self.slots(support_y, z)), statistics)

    def predict(self, context: Context, query_x: Tensor) -> Tensor:
        """Logits [T, Q, N] or predictions [T, Q, d] of query_x [T, Q, *x]."""
        return self.answer(context.h, self._embed(query_x, context.statistics)[0])

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """y = f(D_train, x) for T tasks: logits [T, Q, N] or predictions [T, Q, d]."""
        z_support, z = self.embed_both(support_x, query_x)
        return self.answer(self.read(z_support, self.slots(support_y, z_support)), z)

    def losses(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries, or their squared error, one number a task [T]."""
        predicted = self(episodes.support_x, episodes.support_y, episodes.query_x)
        return self.misfit(predicted, episodes.query_y).mean(1)

    def misfit(self, predicted: Tensor, y: Tensor) -> Tensor:
        """The loss of each prediction [T, Q]: cross-entropy for class ids, mean squared error for targets."""
        if self.ways is None:
            return (predicted - y).square().mean(-1)
        return F.cross_entropy(predicted.mT, y, reduction="none")

    def slots(self, y: Tensor | None, z: Tensor) -> Tensor:
        """The label slots [T, S, N or d] of labels y, in the precision of the embeddings z.

        Raises ValueError where the labels are not of the kind, or the number, that the learner was built for.
        """
        if y is None:
            raise ValueError("a black-box learner reads labelled pairs, but support_y is None")
        if self.ways is None:
            if y.dim() != 3 or y.shape[-1] != self.targets:
                raise ValueError(f"built for targets [T, S, {self.targets}], but support_y has shape {tuple(y.shape)}")
            return y.to(z.dtype)
        if y.is_floating_point():
            raise ValueError(f"built for {self.ways} classes, but support_y holds targets of shape {tuple(y.shape)}")
        if y.numel() and int(y.max()) >= self.ways:
            raise ValueError(
                f"built for ways={self.ways}, but the support holds class {int(y.max())}: "
                f"build and train the learner with ways={int(y.max()) + 1}, or draw {self.ways}-way episodes"
            )
        return one_hot(y, self.ways, z.dtype)

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings [T, B, D] of inputs [T, B, *x], images of a task normalised by that task's own."""
        return self._embed(x)[0]

    def embed_both(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Embed support and query: together where the net is transductive, else by the support's statistics."""
        if self.transductive:
            z, _ = self._embed(torch.cat([support_x, query_x], 1))
            return z.split([support_x.shape[1], query_x.shape[1]], 1)
        z, statistics = self._embed(support_x)
        return z, self._embed(query_x, statistics)[0]

    def _embed(self, x: Tensor, given: Statistics | None = None) -> tuple[Tensor, Statistics]:
        z, statistics = (x, []) if self.net is None else self.net.embed(x, given)
        z = z.flatten(2)
        if z.shape[-1] != self.inputs:
            raise ValueError(f"built for inputs of {self.inputs} numbers, but each has {z.shape[-1]}")
        return z, statistics


def presentations(learner: BlackBox, x: Tensor, y: Tensor) -> Tensor:
    """Predict each item of a stream from the pairs before it: x [T, L, *x], y -> [T, L, N or d].

    The online protocol of Santoro et al. (2016): item t is answered, then its label is shown. The first answer
    knows no label at all, so its accuracy is chance unless labels leak. Images are normalised by the statistics
    of the whole stream, in which there are no labels.
    """
    z = learner.embed(x)
    labels = learner.slots(y, z)
    if hasattr(learner, "stream"):
        return learner.stream(z, labels)
    steps = range(z.shape[1])
    return torch.cat([learner.answer(learner.read(z[:, :t], labels[:, :t]), z[:, t : t + 1]) for t in steps], 1)


def require_mixed(y: Tensor) -> None:
    """Raise ValueError where the classes [T, S] come in one and the same order in all of many tasks.

    A learner that reads a sequence would learn that order and never look at a label.
    """
    if not y.is_floating_point() and y.numel() >= 64 and (y == y[:1]).all() and (y != y[0, 0]).any():
        raise ValueError(
            "the classes come in the same order in every task, and a learner that reads a sequence would "
            "learn the order instead of the labels: train on kshot.tasks.order.Shuffled(tasks)"
        )
