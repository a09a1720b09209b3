"""The instructor's secret, from which the seeds of hidden inputs are drawn: the same at every re-grade."""

import contextlib
import os
import secrets
from pathlib import Path


def secret() -> bytes:
    """AUTOGRADER_SECRET if it is set, else the content of a private file that is made on first use."""
    given = os.environ.get("AUTOGRADER_SECRET")
    if given:
        return given.encode()
    folder = Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "autograder"
    path = folder / "secret"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        building = folder / f".secret-{os.getpid()}-{secrets.token_hex(4)}"
        building.touch(mode=0o600)
        building.write_bytes(secrets.token_hex(32).encode())
        with contextlib.suppress(FileExistsError):  # another grader was faster: its secret then serves both
            os.link(building, path)
        building.unlink()
    return path.read_bytes()
