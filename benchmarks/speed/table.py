"""All measured speeds as one table, from benchmarks/results/speed_*.json.

python benchmarks/speed/table.py
"""

import json

import rounds

NAMES = {
    "maml": "MAML, second order",
    "first_order": "first order, 5-way 1-shot",
    "anil": "ANIL",
    "prototypical": "prototypical networks",
    "sinusoids": "MAML on sinusoids",
    "sampling": "drawing episodes",
}


def table() -> str:
    """Markdown: ratios in CPU time with one thread (above 1: kshot is faster), their range over the rounds."""
    lines = [
        "| what | setting | best peer | ratio (range) | aim | other peers | wall, 2 threads | share of peak |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for name, title in NAMES.items():
        path = rounds.RESULTS / f"speed_{name}.json"
        for setting, entry in (json.loads(path.read_text())["settings"] if path.exists() else {}).items():
            peer, ratio = rounds.best_peer(entry)
            compared, wall = entry["cpu_one_thread"], entry["wall_two_threads"]["ratios"].get(peer, "–")
            low, high = compared["ratio_range"][peer]
            others = ", ".join(f"{who} {each}" for who, each in compared["ratios"].items() if who != peer)
            share = f"{entry['share_of_peak']:.0%}" if "share_of_peak" in entry else "–"
            cells = (title, setting, peer, f"**{ratio}** ({low}–{high})", entry["aim"], others, wall, share)
            lines.append(f"| {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


if __name__ == "__main__":
    print(table())
