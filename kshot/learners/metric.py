"""Learners that compare: embed the support and the query, then measure how close they are."""

from collections.abc import Callable
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot.episodes import Episodes, one_hot, ways_of
from kshot.nets import Conv4, Statistics


def prototypes(z: Tensor, y: Tensor, ways: int) -> Tensor:
    """The mean embedding of each class: z [T, S, D], y [T, S] -> [T, N, D].

    Snell et al., "Prototypical Networks for Few-shot Learning" (2017), equation 1. Raises ValueError where a task
    has no example of some class.
    """
    members = one_hot(y, ways, z.dtype)  # [T, S, N]
    count = members.sum(1)  # [T, N]
    if (count == 0).any():
        task, missing = (count == 0).nonzero()[0].tolist()
        raise ValueError(f"task {task} has no support example of class {missing}: a prototype needs at least one")
    return members.mT @ z / count[..., None]


def squared_distance(a: Tensor, b: Tensor) -> Tensor:
    """|a - b|^2 for all pairs: a [T, Q, D], b [T, N, D] -> [T, Q, N]."""
    centre = b.mean(1, keepdim=True)  # distances do not change, and far from the origin nothing cancels
    a, b = a - centre, b - centre
    return (a.square().sum(-1)[..., None] + b.square().sum(-1)[:, None] - 2 * a @ b.mT).clamp(min=0)


def cosine(a: Tensor, b: Tensor) -> Tensor:
    """The cosine of the angle for all pairs: a [T, Q, D], b [T, N, D] -> [T, Q, N]."""
    return F.normalize(a, dim=-1) @ F.normalize(b, dim=-1).mT


class Support(NamedTuple):
    """What a metric learner keeps of D_train: embeddings, labels, and the statistics that normalised them."""

    z: Tensor  # [T, S, *z]
    y: Tensor  # [T, S]
    ways: int
    statistics: Statistics


class Metric(nn.Module):
    """A learner that embeds with `net` and then compares; a subclass gives `compare`."""

    def __init__(self, net: Conv4):
        super().__init__()
        self.net = net

    @property
    def transductive(self) -> bool:
        """Whether a prediction depends on the task's other queries (through batch statistics)."""
        return self.net.transductive

    def compare(self, z_support: Tensor, y: Tensor, ways: int, z: Tensor) -> Tensor:
        """Logits [T, Q, N] of the queries z [T, Q, *z], given the support z_support [T, S, *z] and y [T, S]."""
        raise NotImplementedError

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Support:
        """Embed the support [T, S, *x]: nothing else is learned from it.

        Raises ValueError for a transductive learner, which must see support and queries together.
        """
        if self.transductive:
            raise ValueError("this learner is transductive: call learner(support_x, support_y, query_x) in one go")
        z, statistics = self.net.embed(support_x)
        return Support(z, support_y, ways_of(support_y), statistics)

    def predict(self, support: Support, query_x: Tensor) -> Tensor:
        """Logits [T, Q, N] of query_x [T, Q, *x]."""
        z, _ = self.net.embed(query_x, support.statistics)
        return self.compare(support.z, support.y, support.ways, z)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """y = f(D_train, x) for T tasks: logits [T, Q, N]."""
        z_support, z = self.embed_both(support_x, query_x)
        return self.compare(z_support, support_y, ways_of(support_y), z)

    def embed_both(self, support_x: Tensor, query_x: Tensor) -> tuple[Tensor, Tensor]:
        """Embed support and query as `forward` compares them: together where the net is transductive."""
        if self.transductive:
            z, _ = self.net.embed(torch.cat([support_x, query_x], 1))
            return z.split([support_x.shape[1], query_x.shape[1]], 1)
        z_support, statistics = self.net.embed(support_x)
        return z_support, self.net.embed(query_x, statistics)[0]

    def embed(self, x: Tensor) -> Tensor:
        """Embeddings [T, B, D] of images [T, B, *x], each task normalised by its own images."""
        return self.net(x).flatten(2)

    def losses(self, episodes: Episodes) -> Tensor:
        """Cross-entropy of the queries, one number a task [T]."""
        logits = self(episodes.support_x, episodes.support_y, episodes.query_x)
        return F.cross_entropy(logits.mT, episodes.query_y, reduction="none").mean(1)


class PixelNeighbour(nn.Module):
    """The floor: each query takes the label of the support image nearest in pixels (squared Euclidean)."""

    transductive = False

    def adapt(self, support_x: Tensor, support_y: Tensor) -> Support:
        """Keep the support as it is."""
        return Support(support_x.flatten(2), support_y, ways_of(support_y), [])

    def predict(self, support: Support, query_x: Tensor) -> Tensor:
        """Logits [T, Q, N]: minus the squared distance to the nearest support image of each class."""
        return by_class(-squared_distance(query_x.flatten(2), support.z), support.y, support.ways, torch.amax)

    def forward(self, support_x: Tensor, support_y: Tensor, query_x: Tensor) -> Tensor:
        """y = f(D_train, x): logits [T, Q, N]."""
        return self.predict(self.adapt(support_x, support_y), query_x)

    def embed(self, x: Tensor) -> Tensor:
        """The pixels themselves: [T, B, H*W]."""
        return x.flatten(2)


def by_class(similarity: Tensor, y: Tensor, ways: int, combine: Callable[[Tensor, int], Tensor]) -> Tensor:
    """`combine` over each class's support (torch.amax, torch.logsumexp): [T, Q, S] and y [T, S] -> [T, Q, N]."""
    members = one_hot(y, ways).mT.bool()  # [T, N, S]
    return combine(similarity[:, :, None].masked_fill(~members[:, None], -torch.inf), -1)


class Siamese(Metric):
    """Trained on pairs ("same class or not?"), used N-way: the query takes the class of its likeliest partner.

    p(same) = sigmoid(w . |z - z'| + b). Koch et al., "Siamese Neural Networks for One-shot Image Recognition"
    (2015). The loss is binary, the use is N-way: training and test conditions do not match.
    """

    def __init__(self, net: Conv4, dimension: int | None = None):
        super().__init__(net)
        dimension = dimension or net.channels
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.weigh = nn.Linear(dimension, 1)

    def same(self, z: Tensor, z_support: Tensor) -> Tensor:
        """The log-odds that a query and a support image are of one class, for all pairs: [T, Q, S]."""
        return self.weigh((z[:, :, None] - z_support[:, None]).abs()).squeeze(-1)

    def compare(self, z_support: Tensor, y: Tensor, ways: int, z: Tensor) -> Tensor:
        return by_class(F.logsigmoid(self.same(z, z_support)), y, ways, torch.amax)

    def losses(self, episodes: Episodes) -> Tensor:
        """Binary cross-entropy over all query-support pairs, as many weights on "same" as on "different": [T]."""
        z_support, z = self.embed_both(episodes.support_x, episodes.query_x)
        same = (episodes.query_y[:, :, None] == episodes.support_y[:, None]).float()  # [T, Q, S]
        share = same.mean((1, 2), keepdim=True)  # of each task alone: [T, 1, 1]
        weight = 0.5 * same / share.clamp(min=1e-9) + 0.5 * (1 - same) / (1 - share).clamp(min=1e-9)
        loss = F.binary_cross_entropy_with_logits(self.same(z, z_support), same, weight, reduction="none")
        return loss.mean((1, 2))


class Matching(Metric):
    """p(y | x, D) = sum_k a(x, x_k) 1(y_k = y), with a the softmax of cosines over the support.

    Vinyals et al., "Matching Networks for One Shot Learning" (2016), equation 1, without full-context embeddings.
    The cosine is sharpened by a learned temperature: bounded by 1, it could not make a confident softmax alone.
    """

    def __init__(self, net: Conv4):
        super().__init__(net)
        self.log_temperature = nn.Parameter(torch.tensor(2.3))

    def compare(self, z_support: Tensor, y: Tensor, ways: int, z: Tensor) -> Tensor:
        log_attention = (cosine(z, z_support) * self.log_temperature.exp()).log_softmax(-1)  # [T, Q, S]
        return by_class(log_attention, y, ways, torch.logsumexp)  # the log of the sum over each class: [T, Q, N]


class Prototypical(Metric):
    """p(y = n | x) = exp(-d(z, c_n)) / sum_n' exp(-d(z, c_n')), with c_n the mean embedding of class n.

    Snell et al., "Prototypical Networks for Few-shot Learning" (2017). `distance` is "euclidean" (squared) or
    "cosine". Raises ValueError on another.
    """

    def __init__(self, net: Conv4, distance: str = "euclidean"):
        super().__init__(net)
        if distance not in ("euclidean", "cosine"):
            raise ValueError(f'distance must be "euclidean" or "cosine", but is {distance!r}')
        self.distance = distance
        if distance == "cosine":
            self.log_temperature = nn.Parameter(torch.tensor(2.3))

    def extra_repr(self) -> str:
        return f"distance={self.distance}"

    def compare(self, z_support: Tensor, y: Tensor, ways: int, z: Tensor) -> Tensor:
        c = prototypes(z_support, y, ways)  # [T, N, D]
        if self.distance == "cosine":
            return cosine(z, c) * self.log_temperature.exp()
        return -squared_distance(z, c)


class Relation(Metric):
    """The distance itself is learned: a small network scores the pair (class, query).

    Sung et al., "Learning to Compare: Relation Network for Few-Shot Learning" (2018). The class is the sum of its
    support's maps (as in the paper). Trained with squared error to 1 for the right class and 0 for the others.
    `net` must give maps [T, B, C, h, w]: `Conv4(pools=(True, True, False, False), flatten=False)`.
    """

    def __init__(self, net: Conv4, hidden: int = 8):
        super().__init__(net)
        if net.flatten:
            raise ValueError("a relation network compares maps, not vectors: build its net with flatten=False")
        channels = net.channels
        with torch.random.fork_rng(devices=[]):
            torch.default_generator.manual_seed(0)
            self.relate = nn.Sequential(
                *(nn.Conv2d(2 * channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.ReLU()),
                *(nn.MaxPool2d(2), nn.Conv2d(channels, channels, 3, padding=1), nn.GroupNorm(8, channels), nn.ReLU()),
                *(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, hidden), nn.ReLU(), nn.Linear(hidden, 1)),
            ).to(memory_format=torch.channels_last)

    def compare(self, z_support: Tensor, y: Tensor, ways: int, z: Tensor) -> Tensor:
        maps = torch.einsum("tsn,tschw->tnchw", one_hot(y, ways, z.dtype), z_support)  # [T, N, C, h, w]
        tasks, queries = z.shape[:2]
        pairs = torch.cat(
            [maps[:, None].expand(-1, queries, -1, -1, -1, -1), z[:, :, None].expand(-1, -1, ways, -1, -1, -1)], 3
        )  # [T, Q, N, 2C, h, w]
        return self.relate(pairs.flatten(0, 2)).view(tasks, queries, ways)

    def losses(self, episodes: Episodes) -> Tensor:
        """Squared error of sigmoid(score) against 1 for the right class and 0 for the others: [T]."""
        scores = self(episodes.support_x, episodes.support_y, episodes.query_x).sigmoid()
        return (scores - one_hot(episodes.query_y, scores.shape[-1])).square().mean((1, 2))
