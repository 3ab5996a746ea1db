"""What is looked at before training, one check a file; a new file is a new check."""

from ...contracts.exports import exports_by_file_name

__getattr__ = exports_by_file_name(__name__, *__path__)
