"""The file of a benchmark's results: a line of JSON for each event."""

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Lines:
    """The file, to which a whole line is added at a time, by any process."""

    path: Path

    def write(self, event: str, **fields: Any) -> None:
        """Add an event, with the time of now."""
        with self.path.open("a") as file:
            file.write(json.dumps({"event": event, "at": time.time(), **fields}) + "\n")

    def read(self) -> list[dict[str, Any]]:
        """All events so far; an incomplete last line is left out."""
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        events = []
        for line in lines:
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events
