"""The error that a user is meant to read."""


class UserError(Exception):
    """One paragraph: what is wrong, the value seen, where (file:line or config key), and what to do.

    The command line prints the paragraph without a traceback and exits with code 2.
    """


class RunFailed(UserError):
    """One paragraph about a run that had begun to train and did not finish; exit code 1."""
