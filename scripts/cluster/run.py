"""The smallest program for many machines: start it once on each, then change it.

    python scripts/cluster/run.py HOST:PORT PROCESSES PROCESS [GRANULES]

Under Slurm and over SSH: slurm.sh and ssh.sh beside this file.
"""

import sys

import jax

address, processes, process = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
jax.distributed.initialize(address, processes, process)

import cerebellum as cb  # noqa: E402  (JAX must meet the others first)

granules = int(sys.argv[4]) if len(sys.argv) > 4 else 200_000 * jax.device_count()
spec = cb.presets.beams(granules, beams=jax.device_count(), learning_rate=2e-4)
circuit = cb.shard.split(cb.build(spec, jax.random.key(0), path="event"), cb.shard.mesh())
state = cb.shard.init(circuit, jax.random.key(1), spread=True)
drive = {"mossy_fiber": cb.drive.poisson(10.0)}

for second in range(3):
    state, recording = cb.simulate(circuit, state, drive, duration_ms=1_000, progress=False)
    if process == 0:
        rates = {name: round(hz, 2) for name, hz in cb.record.rates(recording).items()}
        print(f"second {second + 1}: {recording.seconds['run']:.2f} s, Hz: {rates}", flush=True)
