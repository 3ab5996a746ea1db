"""Import every module of an unpacked wheel, and nothing of finelab from anywhere else.

usage: python import_all.py FOLDER
"""

import importlib
import sys
from pathlib import Path

site = Path(sys.argv[1]).resolve()
# An editable install answers for finelab with a finder of its own, and the current folder could hold a clone.
sys.meta_path = [finder for finder in sys.meta_path if "editable" not in getattr(finder, "__module__", "").lower()]
sys.path = [str(site), *(entry for entry in sys.path if entry not in ("", str(Path(__file__).parent)))]

files = sorted((site / "finelab").rglob("*.py"))
names = [".".join(file.relative_to(site).with_suffix("").parts).removesuffix(".__init__") for file in files]
for name in names:
    found = Path(str(importlib.import_module(name).__file__)).resolve()
    assert found.is_relative_to(site), f"{name} was imported from {found}, not from the wheel"
generic = sorted({name.split(".")[1] for name in names} & sys.modules.keys())
assert not generic, f"top-level modules {generic} appeared"
print(f"{len(names)} modules imported from the wheel")
