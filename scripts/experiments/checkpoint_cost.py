"""What a checkpoint costs: time that a run is held up, time and size on disk, memory.

    python scripts/experiments/checkpoint_cost.py [--granules N] [--folder DIR]

Each part is a process of its own, so that its peak memory is its own. Beside it the same bytes
written and read plainly, with nothing around them.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from cerebellum import xla

xla.one_thread()

import jax  # noqa: E402
import numpy as np  # noqa: E402

import cerebellum as cb  # noqa: E402
from cerebellum import store  # noqa: E402
from cerebellum.store import snapshot  # noqa: E402


def peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def save(folder: Path, granules: int, beside: bool) -> dict:
    sizes = cb.presets.Sizes()
    if granules == 4_000_000:
        sizes = cb.presets.Sizes(purkinje=15_000, golgi=400, nuclei=100)
    spec = cb.presets.beams(granules, sizes=sizes, learning_rate=2e-4)
    circuit = cb.build(spec, jax.random.key(0), path="event")
    state = cb.init(circuit, jax.random.key(1), spread=True)
    jax.block_until_ready(state)
    tree, about = snapshot.tree(circuit, state), snapshot.about(circuit)
    before, began = peak(), time.perf_counter()
    saved = store.Store(folder, beside=beside)
    saved.save(1, tree, about)
    saved.close()
    total = time.perf_counter() - began
    return {
        "bytes": sum(leaf.nbytes for leaf in jax.tree.leaves(tree)),
        "blocked_s": saved.blocked_s,
        "save_s": total,
        "more_memory": peak() - before,
    }


def load(folder: Path, onto: str) -> dict:
    device = jax.sharding.SingleDeviceSharding(jax.devices()[0])
    place = (lambda name, shape: device) if onto == "device" else None
    before, began = peak(), time.perf_counter()
    found = store.newest(folder, place=place)
    assert found is not None
    jax.block_until_ready(found.arrays)
    return {"load_s": time.perf_counter() - began, "memory": peak() - before}


def plain(folder: Path, size: int) -> dict:
    data, path = np.ones(size, np.uint8), folder / "plain"
    began = time.perf_counter()
    with path.open("wb") as file:
        data.tofile(file)
        file.flush()
        os.fsync(file.fileno())
    wrote = time.perf_counter() - began
    began = time.perf_counter()
    np.fromfile(path, np.uint8)
    read = time.perf_counter() - began
    path.unlink()
    return {"plain_write_s": wrote, "plain_read_s": read}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--granules", type=int, default=1_000_000)
    parser.add_argument("--folder", type=Path, default=None, help="on the disk to be timed")
    parser.add_argument("--part", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        kind, *rest = arguments.part
        parts = {"save": save, "load": load, "plain": plain}
        values = [int(x) if x.isdecimal() else x for x in rest]
        print(json.dumps(parts[kind](arguments.folder, *values)))
        return 0
    result: dict[str, dict] = {}
    with tempfile.TemporaryDirectory(dir=arguments.folder) as work:

        def part(name: str, *what: object, where: str = ".") -> dict:
            folder = Path(work, where)
            folder.mkdir(exist_ok=True)
            given = ["--folder", str(folder), "--part", *map(str, what)]
            done = subprocess.run(
                [sys.executable, __file__, *given], capture_output=True, text=True, check=True
            )
            result[name] = json.loads(done.stdout.splitlines()[-1])
            return result[name]

        beside = part("save, beside the run", "save", arguments.granules, 1, where="beside")
        part("save, at once", "save", arguments.granules, 0, where="at_once")
        part("load, NumPy", "load", "numpy", where="beside")
        part("load, device", "load", "device", where="beside")
        part("plain", "plain", beside["bytes"])
        on_disk = sum(p.stat().st_size for p in Path(work, "beside").rglob("*") if p.is_file())
    print(json.dumps({"granules": arguments.granules, "on_disk": on_disk, **result}, indent=1))
    return 0


if __name__ == "__main__":
    sys.exit(main())
