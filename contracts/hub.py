"""Whether Hugging Face's hub can be asked at all."""

import logging
import socket
from functools import cache
from urllib.parse import urlsplit
from urllib.request import getproxies

from huggingface_hub import constants

log = logging.getLogger(__name__)


@cache
def go_offline_without_hub() -> None:
    """Where the hub cannot be connected to, let its client take what was downloaded before.

    Asked once in a process. The client itself tries six times for every file, which takes 25 seconds each without a
    network. Behind a proxy nothing is asked here, since only the proxy can be reached.
    """
    if constants.is_offline_mode() or getproxies().keys() & {"https", "http", "all"}:
        return
    hub = urlsplit(constants.ENDPOINT)
    port = hub.port or {"http": 80}.get(hub.scheme, 443)
    try:
        socket.create_connection((hub.hostname or "", port), constants.HF_HUB_ETAG_TIMEOUT).close()
    except OSError as error:
        log.warning("%s cannot be reached (%s): only what was downloaded before is used.", constants.ENDPOINT, error)
        constants.HF_HUB_OFFLINE = True
