"""Saving with Orbax from one process of many: the one change of its private code that is needed.

Orbax lets its user name the processes that take part in a save. Yet before it saves it compares the
path among all processes of the run, and so waits for ever for those that do not save. Only the
process that leads saves here, when the others may be computing.
"""

from contextlib import contextmanager
from importlib.metadata import version

from cerebellum.errors import FailedError

ORBAX = ("0.12.",)
"""Versions of Orbax, by their start, whose comparison is the one that is left out."""


@contextmanager
def saving(processes: int):
    """Leave the comparison out while the block lasts, where there is more than one process.

    Args:
      processes: of the run.

    Raises:
      FailedError: Orbax is of another version, and might wait for ever.
    """
    if processes == 1:
        yield
        return
    installed = version("orbax-checkpoint")
    if not installed.startswith(ORBAX):
        raise FailedError(
            f"checkpoint: orbax-checkpoint {installed}; one process of {processes} saves with "
            f"{', '.join(each + 'x' for each in ORBAX)} alone"
        )
    from orbax.checkpoint.experimental.v1._src.saving import execution

    compare = execution._check_directory_consistency
    execution._check_directory_consistency = lambda directory: None
    try:
        yield
    finally:
        execution._check_directory_consistency = compare
