"""The one error that a user causes."""


class UsageError(ValueError):
    """Something was asked for that cannot be done.

    The message is one line that names the key or file, its value, and what would be right.
    Programs print it and exit with code 2.
    """
