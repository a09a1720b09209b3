"""Every hostile submission, by class: `EVERY` names them, `write_all` puts them into a folder of submissions."""

from pathlib import Path

import accidents
import archives
import escape
import exhaustion
import forging
import reports
import secrecy
from attack import Attack, honest

CLASSES: dict[str, list[Attack]] = {
    "secrecy": secrecy.ATTACKS,
    "forging": forging.ATTACKS,
    "escape and damage": escape.ATTACKS,
    "exhaustion": exhaustion.ATTACKS,
    "archives and checkpoints": archives.ATTACKS,
    "reports": reports.ATTACKS,
    "accidents": accidents.ATTACKS,
}
# The honest ones, spread over the alphabet so that they are graded beside all kinds of others.
HONEST = [
    honest(name) for name in ("a_first", "hands_in_all", "keeps_to_the_rules", "solves_all", "takes_nothing", "zz_last")
]
EVERY = {attack.name: attack for attacks in (*CLASSES.values(), HONEST) for attack in attacks}


def write_all(folder: Path) -> None:
    """Put every submission into `folder`."""
    folder.mkdir()
    for attack in EVERY.values():
        attack.write(folder)
