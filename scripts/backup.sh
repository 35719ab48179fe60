#!/usr/bin/env bash
# Makes a backup of the service: $BACKUPS/daily/TIME with the trained model (model), the state of the
# markets (service) and the configuration (production.toml). All but the newest $KEEP are removed.
#
#     sudo -u cerebellar env CONFIG=... MODELS=... BACKUPS=... KEEP=14 bash scripts/backup.sh
#
# Every copy is verified. A backup appears under its name when it is whole; one that failed leaves
# nothing, and the exit code is 1. It may run while the service runs.
set -euo pipefail
: "${CONFIG:?the configuration}" "${MODELS:?storage.models}" "${BACKUPS:?storage.backups}"
keep=${KEEP:-14}
case $keep in '' | 0 | *[!0-9]*)
    echo "backup: KEEP: $keep; a whole number, at least 1" >&2
    exit 2
    ;;
esac

daily=$BACKUPS/daily name=$(date -u +%Y%m%dT%H%M%SZ)
mkdir -p "$daily"
work=$daily/.$name.$$
trap 'rm -rf "$work"' EXIT
mkdir "$work"
cp "$CONFIG" "$work/$(basename "$CONFIG")"
copied=''
for run in model service; do
    folder=$MODELS
    [ "$run" = model ] || folder=$MODELS/$run
    # Without a trained model, or before the first save, there are none.
    if ls "$folder"/checkpoints/[0-9]* >/dev/null 2>&1; then
        cerebellar-norse backup "$folder" "$work/$run" >/dev/null
        copied="$copied $run"
    fi
done
mv -T "$work" "$daily/$name"
find "$daily" -mindepth 1 -maxdepth 1 -type d -name '[0-9]*Z' -printf '%f\n' | sort -r |
    tail -n +$((keep + 1)) | while read -r old; do rm -rf "${daily:?}/$old"; done
echo "backup: $daily/$name: configuration$copied"
