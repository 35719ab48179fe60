"""Every file of a checkpoint damaged in every way: all of it found, the file named.

    python scripts/soak/damage.py [--flips 20] [--seed 0]

For each file of a real checkpoint: a bit flipped at random places, cut short, emptied, deleted,
swapped with another. Loading and --verify-data must each refuse it and name a file of those that
were touched, and the checkpoint before must be used. `tests/store/test_store.py` has a short form.
"""

import argparse
import json
import logging
import random
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import jax

import cerebellum as cb
from cerebellum import store
from cerebellum.store import manifest, snapshot, tools


def damages(path: Path, other: Path, flips: int, rng: random.Random) -> Iterator[str]:
    """Spoil a file, say how, and when asked for the next make it good again."""
    data, theirs = path.read_bytes(), other.read_bytes()
    for _ in range(flips if data else 0):
        flipped = bytearray(data)
        flipped[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
        path.write_bytes(flipped)
        yield "flipped"
    if data:
        path.write_bytes(data[: rng.randrange(len(data))])
        yield "truncated"
        path.write_bytes(b"")
        yield "emptied"
    path.unlink()
    yield "deleted"
    path.write_bytes(theirs)
    other.write_bytes(data)
    if theirs != data:
        yield "swapped"
    other.write_bytes(theirs)
    path.write_bytes(data)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--flips", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    logging.disable()  # a line for each damage
    rng, tried, found = random.Random(arguments.seed), Counter(), Counter()
    with tempfile.TemporaryDirectory() as work:
        folder = Path(work, "checkpoints")
        circuit = cb.build(cb.presets.beams(2_000, learning_rate=1e-3), jax.random.key(0))
        state = cb.init(circuit, jax.random.key(1), spread=True)
        tree, about = snapshot.tree(circuit, state), snapshot.about(circuit)
        store.write(folder, 1, tree, about)
        newest = store.write(folder, 2, tree, about)
        files = sorted(path for path in newest.rglob("*") if path.is_file())
        for number, path in enumerate(files):
            for how in damages(path, files[number - 1], arguments.flips, rng):
                tried[how] += 1
                touched = {path.name, files[number - 1].name if how == "swapped" else path.name}
                named = {Path(each["file"]).name for each in tools.verify(work)["problems"]}
                kept = shutil.copytree(newest, Path(work, "kept"))
                fallen_back = store.newest(folder)
                moved = folder / f"{store.DAMAGED}{newest.name}"
                refused = fallen_back is not None and fallen_back.step == 1 and moved.exists()
                found[how] += bool(named & touched) and refused
                shutil.rmtree(moved)
                kept.rename(newest)
        assert not manifest.check(newest)
    result = {how: f"{found[how]} of {tried[how]}" for how in tried}
    print(json.dumps({"files": len(files), **result}))
    return 0 if found == tried else 1


if __name__ == "__main__":
    sys.exit(main())
