"""The smallest program that restores a checkpoint and resumes it; its arguments are RUN [STEP].

    python scripts/restore_checkpoint.py results/simulate

It needs no configuration: a checkpoint holds its circuit. Every file is verified first.
"""

import sys

import cerebellum as cb
from cerebellum.errors import FailedError, UsageError
from cerebellum.store import tools


def main(run: str, step: int | None = None) -> int:
    try:
        circuit, state = tools.load(run, step)
    except (FailedError, UsageError) as error:
        print(f"restore_checkpoint: {error}", file=sys.stderr)
        return 1 if isinstance(error, FailedError) else 2
    print(f"{circuit.spec.name}: {circuit.spec.synapses:,} synapses, at step {int(state.step):,}")
    inputs = [p.name for p in circuit.spec.populations if p.model == "relay"]
    drive = {name: cb.drive.poisson(10.0) for name in inputs}
    state, recording = cb.simulate(circuit, state, drive, duration_ms=200)
    for name, rate in cb.record.rates(recording).items():
        print(f"{name:16} {rate:7.2f} Hz")
    return 0


if __name__ == "__main__":
    if not 2 <= len(sys.argv) <= 3 or not all(text.isdecimal() for text in sys.argv[2:]):
        sys.exit("usage: restore_checkpoint.py RUN [STEP]")
    sys.exit(main(sys.argv[1], *map(int, sys.argv[2:])))
