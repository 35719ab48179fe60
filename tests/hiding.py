"""Programs that run as if modules were not there: for parts that are not installed, and systems
whose Python lacks them."""

import subprocess
import sys

_HIDE = """
import sys
class Hidden:
    def find_spec(name, path=None, target=None):
        if name.partition(".")[0] in {modules!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Hidden)
for name in [*sys.modules]:
    if name.partition(".")[0] in {modules!r}:
        del sys.modules[name]
"""


def run(modules: set[str], code: str, before: str = "") -> subprocess.CompletedProcess[str]:
    """Run code in a new Python that cannot import some modules.

    Args:
      modules: names of top-level modules.
      before: code that still can.
    """
    return subprocess.run(
        [sys.executable, "-c", before + _HIDE.format(modules=modules) + code],
        capture_output=True,
        text=True,
        timeout=300,
    )
