"""What ends a program with one line instead of a traceback."""


class UsageError(ValueError):
    """Something was asked for that cannot be done.

    The message is one line that names the key or file, its value, and what would be right.
    Programs print it and exit with code 2.
    """


class FailedError(Exception):
    """What was asked for was right, and could not be done: a damaged file, a full disk.

    The message is one line a problem. Programs print it and exit with code 1.
    """
