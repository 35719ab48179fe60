"""Runs the other simulator's column of a page of docs/coming-from, in that simulator's environment.

    .peers/nest/bin/python scripts/peers/tables.py docs/coming-from/nest.md [ROW ...]

Rows that are named are left out.
"""

import os
import re
import sys
import tempfile
from pathlib import Path

ROW = re.compile(r"```python\n(.*?)```.*?```python\n(.*?)```", re.DOTALL)


def columns(page: str) -> tuple[list[str], list[str]]:
    """The two programs of a page, row by row: the other simulator's and ours."""
    theirs, ours = zip(*ROW.findall(page), strict=True)
    return list(theirs), list(ours)


if __name__ == "__main__":
    rows, _ = columns(Path(sys.argv[1]).read_text())
    left_out = {int(row) for row in sys.argv[2:]}
    program = "\n".join(row for number, row in enumerate(rows, 1) if number not in left_out)
    os.chdir(tempfile.mkdtemp())
    exec(compile(program, sys.argv[1], "exec"), {"__name__": "__main__"})
    print("ran to its end")
