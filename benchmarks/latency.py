"""From the drag to the new picture, measured inside the browser, for a figure with two curves.

`python benchmarks/latency.py` opens JupyterLab in headless Chromium, drags a point of an `Explorer` with the mouse,
and times each move from the pointer event to the decoded new picture standing in the page. It waits for each picture
before the next move, so that no wait in a queue hides in the number. Writes benchmarks/results/latency.json.
"""

import argparse
import json
import os
import platform
import statistics
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import sync_playwright

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE.parent / "tests" / "browser"))

import conftest as tools  # noqa: E402, the JupyterLab and Chromium of the browser tests

NOTEBOOK = """
import numpy as np
from kshot import see

X = np.linspace(0, 6, 200)

@see.picture
def waves(ax):
    (sine,), (cosine,) = ax.plot(X, X, label="sine"), ax.plot(X, X, label="cosine")
    (dot,) = ax.plot([], [], "o", color=see.ORANGE)
    ax.set(xlabel="x (rad)", ylabel="height (m)", xlim=(0, 6), ylim=(-2, 2))
    place = see.end_labels(ax, [sine, cosine])

    def update(state):
        sine.set_ydata(state["peak"][1] * np.sin(X))
        cosine.set_ydata(state["peak"][1] * np.cos(X))
        dot.set_data(*state["peak"][:, None])
        ax.set_title(f"Amplitude {state['peak'][1]:.2f}")
        place()

    return update

see.Explorer(waves, alt=lambda s: f"Two waves of amplitude {s['peak'][1]:.2f}.", points={"peak": (1.5, 1.0)})
"""
# Each move is timed from its pointer event to the swap of the decoded picture; data-answered counts the answers.
DRAG = """async (moves) => {
  const card = document.querySelector('.kshot-card'), img = card.querySelector('img');
  const handle = card.querySelector('.kshot-handle'), box = handle.getBoundingClientRect();
  const x = box.left + box.width / 2, y = box.top + box.height / 2, times = [];
  const pointer = (type, target, dx, dy) => target.dispatchEvent(new PointerEvent(type, {
    bubbles: true, cancelable: true, pointerId: 1, button: 0, buttons: 1, clientX: x + dx, clientY: y + dy }));
  card.setPointerCapture = () => {};
  pointer('pointerdown', handle, 0, 0);
  for (let i = 0; i < moves; i++) {
    const before = Number(img.dataset.answered || 0), start = performance.now();
    pointer('pointermove', card, 80 * Math.sin(i / 9), 40 * Math.cos(i / 7));
    await new Promise((done) => {
      const look = new MutationObserver(() => {
        if (Number(img.dataset.answered) > before) { look.disconnect(); done(); }
      });
      look.observe(img, { attributes: true });
    });
    times.push(performance.now() - start);
  }
  pointer('pointerup', card, 0, 0);
  return times;
}"""


# The kernel's own processor time so far, in seconds: unlike the wall time it hardly depends on what else runs.
KERNEL_TIME = """async () => {
  const kernel = window.jupyterapp.shell.currentWidget.sessionContext.session.kernel;
  const future = kernel.requestExecute({ code: 'import time; print(time.process_time())' });
  let text = '';
  future.onIOPub = (message) => { text += message.content.text ?? ''; };
  await future.done;
  return Number(text);
}"""


def measure(moves: int) -> tuple[list[float], float]:
    """Milliseconds of each of `moves` drags, after ten that warm up; and the kernel's processor time for one."""
    with tempfile.TemporaryDirectory() as home, tools.running_lab(Path(home)) as lab, sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=tools._chromium(), args=tools.CHROMIUM_FLAGS)
        page = chromium.new_page(viewport={"width": 1400, "height": 1000})
        tools.run_notebook(page, lab, lab.write(NOTEBOOK))
        page.wait_for_function("document.querySelector('.kshot-card img')?.src.startsWith('blob')")
        page.evaluate(DRAG, 10)
        start = page.evaluate(KERNEL_TIME)
        times = page.evaluate(DRAG, moves)
        kernel = 1000 * (page.evaluate(KERNEL_TIME) - start) / moves
        chromium.close()
    return sorted(times), kernel


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--moves", type=int, default=200)
    times, kernel = measure(parser.parse_args().moves)
    result = {
        "median_ms": round(statistics.median(times), 1),
        "p10_ms": round(times[len(times) // 10], 1),
        "p90_ms": round(times[int(0.9 * len(times))], 1),
        "n": len(times),
        "kernel_cpu_ms": round(kernel, 1),
        "load_per_core": round(os.getloadavg()[0] / os.cpu_count(), 2),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
    }
    print("drag to picture    median      p10      p90      n   kernel CPU   load per core")
    print(
        f"two curves       {result['median_ms']:5.1f} ms {result['p10_ms']:5.1f} ms {result['p90_ms']:5.1f} ms"
        f" {result['n']:6d}   {result['kernel_cpu_ms']:7.1f} ms   {result['load_per_core']:13.2f}"
    )
    (HERE / "results").mkdir(exist_ok=True)
    (HERE / "results" / "latency.json").write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
