#!/usr/bin/env bash
# Times the production circuit (4,000,000 granule cells) and the common network on a GPU, with a
# Python that has jax for CUDA: nothing is installed. Writes $OUT/bench.json (default: results/gpu).
# PYTHON chooses the interpreter; arguments replace the sizes, as in `--size S`.
set -euo pipefail
cd "$(dirname "$0")/.."
python=${PYTHON:-python3}
out=${OUT:-results/gpu}
mkdir -p "$out"
sizes=("$@")
[ ${#sizes[@]} -gt 0 ] || sizes=(--size M --size L --size production)
export PYTHONPATH=$PWD
"$python" - <<'END'
import jax

print("devices:", *(device.device_kind for device in jax.devices()))
END
timeout 480 "$python" -m cerebellum.cli bench network "${sizes[@]}" --json >"$out/bench.json"
"$python" - "$out/bench.json" <<'END'
import json
import sys

for each in json.load(open(sys.argv[1]))["results"]:
    step, floor = each["per"]["step_ns"] * 1e-3, each["floor_s"] * 1e3
    named = " ".join(f"{key}={value}" for key, value in each["params"].items())
    peak = each["extra"].get("peak_bytes", 0) / 2**30
    print(f"{named}: {step:.1f} us a step, floor {floor:.1f} us, peak {peak:.1f} GiB")
END
