"""`live_fit`: training with a curve that grows and a Stop button, while every other widget stays alive."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from typing import Any

import ipywidgets
import numpy as np
from matplotlib.axes import Axes
from torch import nn

from kshot.episodes import TaskDistribution
from kshot.see.picture import Canvas
from kshot.see.plane import Plane
from kshot.see.still import Still, mimebundle
from kshot.see.style import BLUE, VERMILLION
from kshot.train import History, fit

PERIOD = 0.25  # seconds between two pictures: drawing must not slow the training


class LossCurve:
    """The loss of every step, and its running mean; the state has losses, steps (in all) and said (the title)."""

    figsize = (7.0, 2.8)

    def build(self, ax: Axes) -> None:
        (self.each,) = ax.plot([], [], ".", color="#B8C4CC", markersize=3, linestyle="")
        (self.mean,) = ax.plot([], [], color=BLUE)
        (self.now,) = ax.plot([], [], "o", color=VERMILLION, linestyle="")
        ax.set(xlabel="step", ylabel="loss", ylim=(0, 1.2))
        self.ax = ax

    def update(self, state: Mapping[str, Any]) -> None:
        losses = np.asarray(state["losses"], dtype=float)
        steps = np.arange(1, len(losses) + 1)
        window = max(1, min(50, len(losses) // 10))
        sums = np.concatenate([[0.0], np.cumsum(losses)])
        starts = np.maximum(steps - window, 0)
        mean = (sums[steps] - sums[starts]) / (steps - starts)
        self.each.set_data(steps, losses)
        self.mean.set_data(steps, mean)
        self.now.set_data(steps[-1:], mean[-1:])
        self.ax.set_xlim(0, max(state["steps"], 1))
        top = 1.1 * float(np.percentile(losses, 98)) if len(losses) else 1.0
        self.ax.set_ylim(0, top or 1.0)
        self.ax.set_title(state["said"])


class LiveFit(ipywidgets.VBox):
    """A training run in a thread of its own; made by `live_fit`.

    `history` is None until it has ended. `stop()` ends it after the present step; `join()` waits for the end.
    """

    def __init__(self, learner: nn.Module, tasks: TaskDistribution, steps: int, options: dict[str, Any]):
        self.history: History | None = None
        self.error: BaseException | None = None
        self.losses: list[float] = []
        self._steps, self._stop, self._drawn = steps, threading.Event(), 0.0
        self._canvas = Canvas(LossCurve())
        width, height = self._canvas.size
        self._plane = Plane(width=width, height=height)
        self._button = ipywidgets.Button(description="Stop", icon="stop", tooltip="Stop training after this step")
        self._button.on_click(lambda _: self.stop())
        super().__init__([self._button, self._plane])
        self._show()
        self._thread = threading.Thread(target=self._train, args=(learner, tasks, options), daemon=True)
        self._thread.start()

    def _train(self, learner: nn.Module, tasks: TaskDistribution, options: dict[str, Any]) -> None:
        try:
            self.history = fit(learner, tasks, steps=self._steps, on_step=self._step, progress=False, **options)
            self.losses = list(self.history.losses)
        except BaseException as error:  # a thread has nobody to raise to: join() raises it again
            self.error = error
            self._plane.error = f"Training ended: {type(error).__name__}: {error}"
        self._button.disabled = True
        self._show()

    def _step(self, _step: int, loss: float) -> bool:
        self.losses.append(loss)
        now = time.monotonic()
        if now - self._drawn > PERIOD:
            self._drawn = now
            self._show()
        return not self._stop.is_set()

    def _state(self) -> dict[str, Any]:
        done, last = len(self.losses), self.losses[-1] if self.losses else float("nan")
        if self.error is not None:
            said = f"Ended by an error at step {done}"
        elif self.history is None:
            said = f"Step {done} of {self._steps}" + (f", loss {last:.3g}" if done else "")
        else:
            said = f"{'Stopped' if self._stop.is_set() and done < self._steps else 'Trained'}: {done} steps"
        return {"losses": list(self.losses), "steps": self._steps, "said": said}

    def _show(self) -> None:
        state = self._state()
        frame = self._canvas.png(state)
        with self._plane.hold_sync():
            self._plane.frame, self._plane.alt = frame, f"Training loss by step. {state['said']}."

    def stop(self) -> None:
        """End the training after the present step."""
        self._stop.set()

    def join(self) -> Still:
        """Wait for the end and return the whole curve as a picture. Interrupting the kernel stops the training.

        Raises:
            whatever ended the training, if it was an error.
        """
        try:
            self._thread.join()
        except KeyboardInterrupt:
            self.stop()
            self._thread.join()
        if self.error is not None:
            raise self.error
        self._show()
        return Still(self._canvas.figure, self._plane.alt)

    def _repr_mimebundle_(self, **kwargs: Any) -> dict[str, Any]:
        live = super()._repr_mimebundle_(**kwargs) or {}
        return {**live, **mimebundle(self._canvas.pixels(self._state(), 2.0), self._plane.alt, self._canvas.size[0])}


def live_fit(learner: nn.Module, tasks: TaskDistribution, *, steps: int, **options: Any) -> LiveFit:
    """Train as `kshot.fit` does, in a thread, with a curve that grows; the cell ends at once.

    `options` are those of `kshot.fit`. A later cell waits with ``run.join()``, which shows the whole curve.

    ::

        run = kshot.see.live_fit(learner, tasks, steps=300)
        run                # the last line of this cell: the curve
        run.join()         # a later cell
    """
    return LiveFit(learner, tasks, steps, options)
