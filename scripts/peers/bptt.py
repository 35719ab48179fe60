"""BPTT beside Norse: the same two layers of LIF cells, batch and steps, one thread each, in turns.

    bash scripts/peers/setup && taskset -c 0 python scripts/peers/bptt.py [--batch 32] [--rounds 3]

Forward, SuperSpike gradient, Adam; cross-entropy of the output spikes. Prints the median of an
update in each and their ratio.
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from cerebellum import xla

xla.one_thread()

import numpy as np  # noqa: E402

from cerebellum.bench import bptt  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent.parent
NORSE = ROOT / ".peers/norse/bin/python"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs=3, default=[100, 300, 100])
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--updates", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    if not NORSE.exists():
        raise SystemExit("bptt: no Norse; bash scripts/peers/setup")
    sizes = [*given.sizes, given.batch, given.steps, given.updates]
    mine, theirs = [], []
    for _ in range(given.rounds):
        mine += bptt.updates(*sizes)
        script = Path(__file__).with_name("bptt_norse.py")
        told = subprocess.run(
            [NORSE, script, *map(str, sizes)], capture_output=True, text=True, check=True
        )
        theirs += json.loads(told.stdout)["seconds"][1:]
    ticks = given.batch * given.steps
    result = {
        "network": given.sizes,
        "batch": given.batch,
        "steps": given.steps,
        "ours_s": float(np.median(mine)),
        "norse_s": float(np.median(theirs)),
        "ratio": float(np.median(theirs) / np.median(mine)),
        "ours_steps_per_second": ticks / float(np.median(mine)),
    }
    print(json.dumps(result))
    return 0


if __name__ == "__main__":
    sys.exit(main())
