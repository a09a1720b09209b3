"""Which parameters the inner loop moves, and how far: one rate, one a layer, or one an entry; given or learned."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kshot.inner import Parameters

KINDS = ("one", "layer", "parameter")


def chosen(names: Sequence[str], adapts: str | Sequence[str]) -> list[str]:
    """The `names` of parameters that adapt: "all", "head" (the last module that has any), or those with a prefix.

    Raises ValueError where none is left.
    """
    if adapts == "all":
        return list(names)
    prefixes = (names[-1].rpartition(".")[0],) if adapts == "head" else (adapts,) if isinstance(adapts, str) else adapts
    of = {p: [name for name in names if name == p or name.startswith(f"{p}.")] for p in prefixes}
    for prefix, found in (of or {adapts: []}).items():
        if not found:
            raise ValueError(
                f"no parameter is called {prefix!r}: "
                f'adapts is "all", "head", or prefixes of {", ".join(names[:6])}, ...'
            )
    return [name for name in names if any(name in found for found in of.values())]


class InnerRates(nn.Module):
    """alpha for each of the `parameters` that adapt, all starting at `rate`.

    kind: "one" number for all, one a "layer" (the parameters of one module), or one for each entry of a "parameter";
    learned together with the start, the last is Meta-SGD (Li et al., "Meta-SGD", 2017). Raises ValueError on another.
    """

    def __init__(self, parameters: Parameters, rate: float, kind: str, learned: bool):
        super().__init__()
        if kind not in KINDS:
            raise ValueError(f"rates must be one of {', '.join(KINDS)}, but is {kind!r}")
        if not rate > 0:
            raise ValueError(f"the inner rate must be positive, but is {rate}")
        self.initial, self.kind, self.learned = rate, kind, learned
        self.group = {name: _group(name, kind) for name in parameters}
        like = next(iter(parameters.values()))
        for name, tensor in parameters.items():
            group = self.group[name]
            if hasattr(self, group):
                continue
            value = torch.full(tensor.shape if kind == "parameter" else (), float(rate), dtype=like.dtype)
            if learned:
                self.register_parameter(group, nn.Parameter(value))
            else:
                self.register_buffer(group, value)

    def extra_repr(self) -> str:
        return f"{self.initial:g} {self.kind}{', learned' if self.learned else ''}"

    def forward(self, values: Sequence[Tensor] = ()) -> dict[str, Tensor]:
        """alpha by name, a number or [*shape] each; learned ones from `values` (ordered as parameters()) if given."""
        own = dict(self.named_parameters() if self.learned else self.named_buffers())
        if values:
            own = dict(zip(own, values))
        return {name: own[group] for name, group in self.group.items()}

    def collected(self, slopes: Parameters) -> list[Tensor]:
        """Slopes [T, *shape] by name of every entry's rate -> those of the learned ones, in parameters() order."""
        totals: dict[str, Tensor] = {}
        for name, slope in slopes.items():
            own = slope if self.kind == "parameter" else slope.flatten(1).sum(1)  # one number for many entries
            group = self.group[name]
            totals[group] = totals[group] + own if group in totals else own
        return [totals[group] for group, _ in self.named_parameters()]  # none where they are not learned

    def largest(self) -> float:
        """The largest rate there is now."""
        return max(float(tensor.detach().max()) for tensor in (*self.parameters(), *self.buffers()))


def _group(name: str, kind: str) -> str:
    owner = {"one": "", "layer": name.rpartition(".")[0], "parameter": name}[kind]
    return "alpha_" + owner.replace("_", "__").replace(".", "_")  # a module's attribute has no dots
