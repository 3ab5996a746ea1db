"""What Ray runs on a node."""

import signal

from .ray_probe import Seen, look
from .remote_cell import Ended, RemoteCell, StopFlag


def run_cell(cell: RemoteCell) -> Ended:
    """One cell; Ray's cancellation, which comes as Ctrl-C, becomes SIGTERM for its child."""
    with StopFlag(signal.SIGINT) as stop:
        return cell.run(stop)


def probe_node(marker: str, cwd: str) -> Seen:
    """See ``look``."""
    return look(marker, cwd)
