#!/usr/bin/env bash
# One process a GPU, 8 to a node:  sbatch --nodes 4 scripts/cluster/slurm.sh 8000000
# OUT is a folder that every node sees. Killed or out of time: submit the same again with RESUME=1.
#SBATCH --ntasks-per-node=8 --gpus-per-task=1 --time=04:00:00 --signal=TERM@60
set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | sed -n 1p)
export COORDINATOR=$head:9876 GRANULES=$1 OUT=${OUT:-results/cluster} RESUME=${RESUME:-}
# shellcheck disable=SC2016
srun bash -c 'cerebellar-norse simulate --granule-size "$GRANULES" --duration-ms 100000 \
    --out "$OUT" --no-plots --checkpoint-ms 10000 ${RESUME:+--resume} \
    --coordinator "$COORDINATOR" --processes "$SLURM_NTASKS" --process "$SLURM_PROCID"'
