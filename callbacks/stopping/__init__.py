"""When the validation error says that training has gone on for long enough: pure functions of the errors so far."""

from ...contracts.exports import exports_by_file_name

__getattr__ = exports_by_file_name(__name__, *__path__)
