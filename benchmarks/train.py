"""Make the checkpoints that come with the course: `python benchmarks/train.py protonet_omniglot`.

An interrupted training continues where it was. The recipes are in kshot/recipes.py; `--threads` is the number of
CPU threads, `--device` where to train (auto: a GPU where there is one), and the wall time is printed with the result on
the validation tasks.
"""

import argparse
import time

import torch

from kshot.checkpoint import SHIPPED
from kshot.pretrained import train
from kshot.recipes import RECIPES


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="+", choices=sorted(RECIPES), metavar="NAME", help=", ".join(sorted(RECIPES)))
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--device", default="auto", help="cpu, cuda, mps or auto")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    for name in arguments.names:
        start = time.time()
        history = train(name, SHIPPED / f"{name}.safetensors", arguments.device)
        best = history.validation.get(history.best_step)
        print(f"{name}: best validation {best:.4f} at step {history.best_step}, {time.time() - start:.0f} s")


if __name__ == "__main__":
    main()
