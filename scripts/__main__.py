"""``python -m finelab.scripts`` is the ``finelab`` command: for child processes, which need no program on the path."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())
