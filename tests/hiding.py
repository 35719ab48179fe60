"""Programs that run as if modules were not there: for parts that are not installed, and systems
whose Python lacks them."""

import os
import subprocess
import sys

_HIDE = """
import sys
class Hidden:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden)
"""


def run(modules: set[str], code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run code in a new Python that cannot import some modules.

    Args:
      modules: names of top-level modules.
      variables: of the environment.
    """
    return subprocess.run(
        [sys.executable, "-c", _HIDE.format(modules=modules) + code],
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
    )
