"""Runs examples, one after the other, and leaves what each printed and drew in a folder.

    python scripts/site/run_example.py SCRIPT FOLDER [SCRIPT FOLDER ...]

A folder appears when its example has ended without an error or a warning. It holds the pictures
that the example wrote to the working folder, and `output.json`.
"""

import contextlib
import io
import json
import os
import runpy
import shutil
import sys
import tempfile
import time
import warnings
from pathlib import Path

os.environ["MPLBACKEND"] = "agg"

from cerebellum import xla


def run(script: Path, folder: Path) -> None:
    """Run an example in an empty working folder, and rename that when it is complete.

    Raises:
      RuntimeError: the example warned.
      Exception: whatever the example raised.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}-"))
    printed, start = io.StringIO(), time.perf_counter()
    try:
        with (
            contextlib.chdir(work),
            contextlib.redirect_stdout(printed),
            warnings.catch_warnings(record=True) as warned,
        ):
            runpy.run_path(str(script), run_name="__main__")
        if warned:
            raise RuntimeError(f"{script.name}: {warned[0].category.__name__}: {warned[0].message}")
        pictures = sorted(work.glob("*.*"), key=lambda path: path.stat().st_mtime_ns)
        output = {
            "stdout": printed.getvalue(),
            "pictures": [path.name for path in pictures if path.suffix in (".png", ".gif")],
            "seconds": round(time.perf_counter() - start, 1),
        }
        (work / "output.json").write_text(json.dumps(output, indent=1))
        with contextlib.suppress(OSError):  # another build was faster
            work.rename(folder)
    finally:
        shutil.rmtree(work, ignore_errors=True)


if __name__ == "__main__":
    xla.one_thread()
    for script, folder in zip(sys.argv[1::2], sys.argv[2::2], strict=True):
        run(Path(script).resolve(), Path(folder).resolve())
