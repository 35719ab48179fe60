#!/usr/bin/env bash
# One process a host, over SSH:  scripts/cluster/ssh.sh 8000000 host1 host2 host3
# The hosts have the package under the same path, and see the same OUT. RESUME=1 goes on.
set -euo pipefail
granules=$1 hosts=("${@:2}") process=0
flags="--granule-size $granules --duration-ms 100000 --out ${OUT:-results/cluster} --no-plots \
--checkpoint-ms 10000 ${RESUME:+--resume} --coordinator ${hosts[0]}:9876 --processes ${#hosts[@]}"
trap 'kill 0' INT TERM
for host in "${hosts[@]}"; do
    ${SSH:-ssh} "$host" "cd '$PWD' && cerebellar-norse simulate $flags --process $process" &
    process=$((process + 1))
done
wait
