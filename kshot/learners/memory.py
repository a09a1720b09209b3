"""Learners with a state: read the support one pair after the other, then answer each query from what is kept."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kshot.black_box import BlackBox, presentations, require_mixed, weights_from
from kshot.episodes import Episodes
from kshot.nets import Conv4


class Recurrent(BlackBox):
    """A black box that carries a state from step to step; a subclass gives `start`, `take` and `look`.

    `online=True` trains as Santoro et al. did: support and queries are one stream, every item is predicted from
    those before it, and the loss is the mean over the stream. Otherwise the loss is that of the queries.
    """

    def start(self, z: Tensor) -> tuple[Tensor, ...]:
        """The state before anything was read, for the T tasks of z [T, S, D]; each part is [T, ...]."""
        raise NotImplementedError

    def take(self, state: tuple[Tensor, ...], pair: Tensor) -> tuple[Tensor, ...]:
        """The state after one more pair [T, D + N]."""
        raise NotImplementedError

    def look(self, state: tuple[Tensor, ...], pair: Tensor) -> Tensor:
        """The prediction [T, N] for an input with an empty label slot [T, D + N]; the state stays as it is."""
        raise NotImplementedError

    def read(self, z: Tensor, labels: Tensor) -> tuple[Tensor, ...]:
        state = self.start(z)
        for pair in torch.cat([z, labels], -1).unbind(1):
            state = self.take(state, pair)
        return state

    def answer(self, state: tuple[Tensor, ...], z: Tensor) -> Tensor:
        queries = z.shape[1]
        state = state if queries == 1 else type(state)(*(part.repeat_interleave(queries, 0) for part in state))
        return self.look(state, F.pad(z, (0, self.outputs)).flatten(0, 1)).unflatten(0, (-1, queries))

    def stream(self, z: Tensor, labels: Tensor) -> Tensor:
        """Each item's prediction [T, L, N] from the pairs before it, the state carried along."""
        state, answers = self.start(z), []
        for t in range(z.shape[1]):
            answers.append(self.answer(state, z[:, t : t + 1]))
            state = self.take(state, torch.cat([z[:, t], labels[:, t]], -1))
        return torch.cat(answers, 1)

    def losses(self, episodes: Episodes) -> Tensor:
        """The loss of the queries or, if `online`, of every step of the stream: one number a task [T]."""
        require_mixed(episodes.support_y)
        if not self.online:
            return super().losses(episodes)
        require_mixed(episodes.query_y)
        x = torch.cat([episodes.support_x, episodes.query_x], 1)
        y = torch.cat([episodes.support_y, episodes.query_y], 1)
        return self.misfit(presentations(self, x, y), y).mean(1)


class State(NamedTuple):
    """What an LSTM remembers."""

    hidden: Tensor  # [T, H]
    cell: Tensor  # [T, H]


class LSTMLearner(Recurrent):
    """The plainest black box: an LSTM reads (z_1, y_1) ... (z_K, y_K), (z, 0), and its last output is the answer.

    Hochreiter et al., "Learning to Learn Using Gradient Descent" (2001); the baseline of Santoro et al. (2016).
    """

    def __init__(
        self,
        net: Conv4 | None = None,
        *,
        inputs: int | None = None,
        ways: int | None = None,
        targets: int | None = None,
        hidden: int = 128,
        online: bool = False,
        seed: int = 0,
    ):
        super().__init__(net, inputs=inputs, ways=ways, targets=targets, hidden=hidden, online=online, seed=seed)
        self.hidden, self.online = hidden, online
        with weights_from(seed):
            self.cell = nn.LSTMCell(self.inputs + self.outputs, hidden)
            self.out = nn.Linear(hidden, self.outputs)
        nn.init.ones_(self.cell.bias_ih[hidden : 2 * hidden])  # at first, forget little

    def start(self, z: Tensor) -> State:
        return State(*z.new_zeros(2, len(z), self.hidden))

    def take(self, state: State, pair: Tensor) -> State:
        return State(*self.cell(pair, state))

    def look(self, state: State, pair: Tensor) -> Tensor:
        return self.out(self.cell(pair, state)[0])


def least_used(usage: Tensor, heads: int) -> Tensor:
    """Which slot each head may overwrite, the h-th least used for head h: usage [T, M] -> indicators [T, heads, M].

    Equally used slots go by their number.
    """
    slots = usage.argsort(dim=-1, stable=True)[:, :heads]
    return F.one_hot(slots, usage.shape[-1]).to(usage.dtype)


class Memory(NamedTuple):
    """What a MANN remembers."""

    hidden: Tensor  # [T, H], of the controller
    cell: Tensor  # [T, H]
    found: Tensor  # [T, heads * width], read at the last step
    slots: Tensor  # [T, M, width]
    reads: Tensor  # [T, heads, M], how much each head read from each slot at the last step
    usage: Tensor  # [T, M]


class MANN(Recurrent):
    """An LSTM with an external memory whose writes go where it was read last, or where it was used least.

        read    w^r = softmax(strength * cosine(key, M_{t-1}))
        write   w^w = g w^r_{t-1} + (1 - g) w^lu,  the least used slot emptied first,  M_t = M_{t-1} + w^w v
        usage   w^u = decay * w^u_{t-1} + w^r + w^w

    Santoro et al., "Meta-Learning with Memory-Augmented Neural Networks" (2016), equations 2 to 8. Here a step
    reads before it writes (else a query would find itself), each head writes its own v, and the strength is
    learned: a cosine of at most 1 could not pick one slot among many.
    """

    def __init__(
        self,
        net: Conv4 | None = None,
        *,
        inputs: int | None = None,
        ways: int | None = None,
        targets: int | None = None,
        hidden: int = 128,
        slots: int = 64,
        width: int = 40,
        heads: int = 1,
        decay: float = 0.99,
        online: bool = False,
        seed: int = 0,
    ):
        own = dict(hidden=hidden, slots=slots, width=width, heads=heads, decay=decay, online=online, seed=seed)
        super().__init__(net, inputs=inputs, ways=ways, targets=targets, **own)
        if heads > slots:
            raise ValueError(f"{heads} heads need a slot each, but the memory has slots={slots}")
        self.hidden, self.online = hidden, online
        self.slot_count, self.width, self.heads, self.decay = slots, width, heads, decay
        with weights_from(seed):
            self.controller = nn.LSTMCell(self.inputs + self.outputs + heads * width, hidden)
            self.key, self.value = nn.Linear(hidden, heads * width), nn.Linear(hidden, heads * width)
            self.gate, self.strength = nn.Linear(hidden, heads), nn.Linear(hidden, heads)
            self.out = nn.Linear(hidden + heads * width, self.outputs)
        nn.init.constant_(self.strength.bias, 5.0)

    def start(self, z: Tensor) -> Memory:
        tasks, heads, slots = len(z), self.heads, self.slot_count
        shapes = [(self.hidden,), (self.hidden,), (heads * self.width,), (slots, self.width), (heads, slots), (slots,)]
        return Memory(*(z.new_zeros(tasks, *shape) for shape in shapes))

    def control(self, memory: Memory, pair: Tensor) -> Memory:
        """Run the controller on a pair [T, D + N] and read the memory; nothing is written yet."""
        state = memory.hidden, memory.cell
        hidden, cell = self.controller(torch.cat([pair, memory.found], -1), state)
        keys = self.key(hidden).unflatten(-1, (self.heads, self.width))  # [T, heads, width]
        likeness = F.normalize(keys, dim=-1) @ F.normalize(memory.slots, dim=-1).mT  # [T, heads, M]
        reads = (F.softplus(self.strength(hidden))[..., None] * likeness).softmax(-1)
        return memory._replace(hidden=hidden, cell=cell, found=(reads @ memory.slots).flatten(1), reads=reads)

    def take(self, memory: Memory, pair: Tensor) -> Memory:
        now = self.control(memory, pair)
        least = least_used(memory.usage, self.heads)  # [T, heads, M]
        gate = self.gate(now.hidden).sigmoid()[..., None]  # [T, heads, 1]
        writes = gate * memory.reads + (1 - gate) * least
        values = self.value(now.hidden).unflatten(-1, (self.heads, self.width))
        slots = memory.slots * (1 - least.sum(1))[..., None] + writes.mT @ values
        usage = self.decay * memory.usage + (now.reads + writes).sum(1).detach()
        return now._replace(slots=slots, usage=usage)

    def look(self, memory: Memory, pair: Tensor) -> Tensor:
        now = self.control(memory, pair)
        return self.out(torch.cat([now.hidden, now.found], -1))
