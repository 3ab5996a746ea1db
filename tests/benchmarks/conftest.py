"""The scripts of benchmarks/ are no package; their tests import them as their own imports of each other do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent.parent / "benchmarks"))
