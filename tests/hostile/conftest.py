"""The modules beside this file import one another by name."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))
