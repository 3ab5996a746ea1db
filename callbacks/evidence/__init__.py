"""What the losses of fixed rows say about a run: statistics without torch, one question a file."""

from ...contracts.exports import exports_by_file_name

__getattr__ = exports_by_file_name(__name__, *__path__)
