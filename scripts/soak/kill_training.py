"""SIGKILLs of a training run at random moments: the same parameters bit for bit, the same history.

    python scripts/soak/kill_training.py [--kills 10] [--method surrogate_gradient] [--seed 0]

`cerebellar-norse train` learns generated ticks, with a checkpoint every second. Once it is left
alone; once it is killed, and resumed, over and over. `tests/cli/test_training_program.py` has a
short form.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

from cerebellum import store

TICKS = 20_000
ENVIRONMENT = {"CEREBELLAR__TRAINING__CHECKPOINT_INTERVAL": "1"}


def ticks(path: Path, seed: int) -> Path:
    """A price whose next step mostly repeats the last one."""
    rng = np.random.default_rng(seed)
    moves = np.cumprod(np.where(rng.random(TICKS) < 0.85, 1, -1))
    when = 1_700_000_000_000 + np.cumsum(rng.integers(1, 400, TICKS))
    rows = zip(when, 100 + 0.01 * np.cumsum(moves), rng.random(TICKS), strict=True)
    text = "".join(f"{t},{p:.4f},{v:.3f}\n" for t, p, v in rows)
    path.write_text("timestamp,price,volume\n" + text)
    return path


def train(data: Path, out: Path, method: str, *more: str) -> subprocess.Popen:
    command = [sys.executable, "-m", "cerebellum.cli", "train", "--data", str(data)]
    command += ["--out", str(out), "--method", method, "--epochs", "12", "--no-plots", "--json"]
    return subprocess.Popen(
        [*command, *more],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, **ENVIRONMENT},
    )


def _newest(run: Path) -> int:
    found = store.steps(run / store.FOLDER)
    return found[0][0] if found else 0


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--method", default="surrogate_gradient")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    rng = random.Random(given.seed)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        data = ticks(root / "ticks.csv", given.seed)
        whole, broken = root / "whole", root / "broken"
        began = time.monotonic()
        assert train(data, whole, given.method).wait() == 0
        spent = time.monotonic() - began
        reached = []
        for number in range(given.kills):
            process = train(data, broken, given.method, *(["--resume"] if number else []))
            # From its first new checkpoint on, a random while: also into the middle of a save.
            last = reached[-1] if reached else 0
            while process.poll() is None and _newest(broken) <= last:
                time.sleep(0.05)
            time.sleep(rng.uniform(0, 0.15 * spent))
            process.send_signal(signal.SIGKILL)
            process.wait()
            found = store.newest(broken / store.FOLDER)
            reached.append(0 if found is None else found.step)
        assert train(data, broken, given.method, "--resume").wait() == 0
        one, other = (store.newest(each / store.FOLDER) for each in (whole, broken))
        assert one is not None
        assert other is not None
        assert one.step == other.step
        same = one.arrays.keys() == other.arrays.keys() and all(
            np.array_equal(one.arrays[name], other.arrays[name]) for name in one.arrays
        )
        history = [json.loads((each / "history.json").read_text()) for each in (whole, broken)]
    told = {"kills": given.kills, "steps": one.step, "reached": reached, "bit_for_bit": same}
    told |= {"same_history": history[0] == history[1], "seconds_unkilled": round(spent, 1)}
    print(json.dumps(told))
    return 0 if same and told["same_history"] else 1


if __name__ == "__main__":
    sys.exit(main())
