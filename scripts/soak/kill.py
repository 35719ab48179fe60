"""Hundreds of SIGKILLs during saves: always a valid newest checkpoint, never a wrong number.

    python scripts/soak/kill.py [--kills 200] [--seed 0]

A run that learns saves every second step (tests/training_loop.py). It is killed at a random moment
and started again, over and over. After every kill the newest checkpoint must be intact, and at most
one interval and one save behind what was reached; at the end everything must be, bit for bit,
what a run gives that was never stopped. `tests/store/test_store.py` has a short form.
"""

import argparse
import json
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cerebellum import store
from cerebellum.store import manifest

ROOT = Path(__file__).resolve().parent.parent.parent
LOOP = ROOT / "tests/training_loop.py"
EVERY = 2
LONGEST_S = 1.0


def start(folder: Path, steps: int) -> subprocess.Popen:
    command = [sys.executable, "-u", str(LOOP), str(folder), str(steps)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def kill_once(folder: Path, steps: int, rng: random.Random) -> dict[str, int]:
    """Start, kill, look: the steps that were reached and saved, and what was left unfinished."""
    process = start(folder, steps)
    assert process.stdout is not None
    process.stdout.readline()  # ready
    first = process.stdout.readline()
    time.sleep(rng.uniform(0, LONGEST_S))
    process.send_signal(signal.SIGKILL)
    said = [line.split() for line in [first, *process.stdout.read().splitlines()]]
    process.wait()
    reached = max((int(words[1]) for words in said if words[0] == "step"), default=0)
    unfinished = len(list(folder.glob(f"{store.SAVING}*")))
    found = store.steps(folder)
    damaged = [path.name for _, path in found if manifest.check(path)]
    if damaged:
        raise SystemExit(f"damaged after a kill: {', '.join(damaged)}")
    return {"reached": reached, "saved": found[0][0] if found else 0, "unfinished": unfinished}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, behind, during = random.Random(arguments.seed), 0, 0
    with tempfile.TemporaryDirectory() as work:
        folder, before = Path(work, "cut"), 0
        for number in range(arguments.kills):
            seen = kill_once(folder, 1_000_000, rng)
            if seen["saved"] < before:
                raise SystemExit(f"kill {number}: step {seen['saved']}, {before} was there before")
            before = seen["saved"]
            behind = max(behind, seen["reached"] - seen["saved"])
            during += seen["unfinished"] > 0
        last = start(folder, before + EVERY)
        resumed = last.communicate()[0].splitlines()[-1]
        whole = start(Path(work, "whole"), before + EVERY).communicate()[0].splitlines()[-1]
    result = {
        "kills": arguments.kills,
        "during_a_save": during,
        "steps": before,
        "most_steps_behind": behind,
        "same_as_never_stopped": resumed == whole,
    }
    print(json.dumps(result))
    good = resumed == whole and behind <= 2 * EVERY and before > arguments.kills and during
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
