"""What the scripts that measure learners' numbers share: their options, their claims, and the report they leave."""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import torch


def options(description: str, episodes: int) -> argparse.ArgumentParser:
    """The options that every script has."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a run of seconds, which writes nothing")
    parser.add_argument("--episodes", type=int, default=episodes)
    parser.add_argument("--threads", type=int, default=1)
    return parser


def claim(sentence: str, held: bool, figures: object) -> dict:
    """A claim, whether it held, and the figures that say so."""
    return {"claim": sentence, "held": bool(held), "figures": str(figures)}


def write(
    arguments: argparse.Namespace, measure: Callable[[], dict], markdown: Callable[[dict], str], results: Path
) -> None:
    """Measure; print the table and which claims held; write the report and its times to `results` unless `--quick`."""
    torch.set_num_threads(arguments.threads)
    wall, own = time.perf_counter(), time.process_time()
    report = measure()
    report |= {"wall_seconds": round(time.perf_counter() - wall)}
    report |= {"all_cpu_seconds": round(time.process_time() - own), "threads": arguments.threads}
    print(f"\n{markdown(report)}\n")
    for each in report["claims"]:
        print(f"{'held    ' if each['held'] else 'NOT held'} {each['claim']}: {each['figures']}")
    settings = ", ".join(f"{name} {value}" for name, value in report["settings"].items() if name != "inner")
    print(f"\n95 % intervals, {report['all_cpu_seconds']} CPU seconds; {settings}")
    if not arguments.quick:
        results.write_text(json.dumps(report, indent=1) + "\n")
        print(f"written to {results.name}")
