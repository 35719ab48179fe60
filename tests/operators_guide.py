"""The commands of docs/operations.md, for the tests and for `scripts/soak/host.py`."""

import re
from pathlib import Path

GUIDE = Path(__file__).resolve().parents[1] / "docs/operations.md"


def sections() -> dict[str, list[str]]:
    """The blocks of commands, by heading; those before the first heading are "names"."""
    blocks: dict[str, list[str]] = {}
    heading = "names"
    text = GUIDE.read_text()
    for match in re.finditer(r"^## ([^\n]+)$|^```sh\n(.*?)^```$", text, re.M | re.S):
        if match[1]:
            heading = match[1].split(":")[0]
        else:
            blocks.setdefault(heading, []).append(match[2])
    return blocks
