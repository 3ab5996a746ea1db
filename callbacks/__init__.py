"""What watches a run."""

from ..contracts.exports import exports_by_file_name

__getattr__ = exports_by_file_name(__name__, *__path__)
