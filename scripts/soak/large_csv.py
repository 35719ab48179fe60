"""A file of a gigabyte, read and prepared: rows, seconds, and the most memory that was resident.

    python scripts/soak/large_csv.py [--megabytes 1000]

Quotes with seven columns, as the reference data has them. Exits 1 above two bytes of memory for one
of the file.
"""

import argparse
import json
import resource
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cerebellum.learn.tasks import ticks

ROWS = 200_000
"""to a block that is written again and again, later and later"""


def write(path: Path, size: int) -> int:
    """Returns the rows."""
    rng, rows, when, mid = np.random.default_rng(0), 0, 1_700_000_000_000, 50_000.0
    with path.open("w") as file:
        file.write("timestamp,price,volume,bid,ask,bid_size,ask_size\n")
        while file.tell() < size:
            steps = 0.01 * rng.integers(-2, 3, ROWS)
            price = mid + np.cumsum(steps)
            times = when + np.cumsum(rng.integers(1, 200, ROWS))
            sizes = rng.random((3, ROWS))
            columns = (times, price, sizes[0], price - 0.01, price + 0.01, sizes[1], sizes[2])
            form = "%d,%.3f,%.6f,%.3f,%.3f,%.6f,%.6f\n"
            file.write("".join(form % row for row in zip(*columns, strict=True)))
            when, mid, rows = int(times[-1]), float(price[-1]), rows + ROWS
    return rows


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--megabytes", type=int, default=1_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "large.csv"
        rows = write(path, given.megabytes * 10**6)
        size = path.stat().st_size
        began = time.perf_counter()
        stream = ticks.load(path)
        loaded = time.perf_counter()
        data = ticks.prepare(stream, "event")
        prepared = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    told = {
        "bytes": size,
        "rows": rows,
        "load_s": round(loaded - began, 1),
        "prepare_s": round(prepared - loaded, 1),
        "peak_bytes": peak,
        "peak_share": round(peak / size, 2),
        "features": data.ranks.shape[1],
    }
    print(json.dumps(told))
    return 0 if peak < 2 * size else 1


if __name__ == "__main__":
    sys.exit(main())
