#!/usr/bin/env bash
# Installs the service on this machine, or takes it away again.
#
#     sudo bash scripts/install.sh [--root DIR] [--no-start]
#     sudo bash scripts/install.sh --uninstall [--purge] [--root DIR]
#
# Run again it updates the program and leaves configuration, models, backups and logs as they are.
# --uninstall removes the program, the unit and the logrotate file; with --purge also the
# configuration, models, logs and the user. Backups are never removed. --root installs below DIR,
# for a look at what it would do.
set -euo pipefail
umask 022
cd "$(dirname "$0")/.."
. scripts/python.sh

root='' action=install purge='' start=yes
while [ $# -gt 0 ]; do
    case $1 in
        --root) root=${2:?--root: a directory}; shift ;;
        --uninstall) action=uninstall ;;
        --purge) purge=yes ;;
        --no-start) start= ;;
        *) echo "install: $1: unknown; --root DIR, --no-start, --uninstall, --purge" >&2; exit 2 ;;
    esac
    shift
done
if [ -z "$root" ] && [ "$(id -u)" != 0 ]; then
    echo "install: not root; sudo, or --root DIR to look" >&2
    exit 2
fi

name=cerebellar-norse user=cerebellar
program=$root/opt/$name config=$root/etc/$name state=$root/var/lib/$name
logs=$root/var/log/$name backups=$root/backup/$name
unit=$root/etc/systemd/system/$name.service rotate=$root/etc/logrotate.d/$name
live=''
[ -n "$root" ] || [ ! -d /run/systemd/system ] || live=yes

if [ "$action" = uninstall ]; then
    [ -z "$live" ] || systemctl disable --now "$name.service" 2>/dev/null || true
    rm -rf "$program" "$unit" "$rotate"
    [ -z "$live" ] || systemctl daemon-reload
    if [ -n "$purge" ]; then
        rm -rf "$config" "$state" "$logs"
        [ -n "$root" ] || userdel "$user" 2>/dev/null || true
    fi
    echo "install: $name is removed${purge:+ with its configuration, models and logs}; backups stay in $backups"
    exit 0
fi

python=$(find_python)
if [ -z "$root" ] && ! id "$user" >/dev/null 2>&1; then
    useradd --system --home-dir "$state" --shell /usr/sbin/nologin "$user"
fi
mkdir -p "$program" "$config" "$state/models" "$state/data" "$logs" "$backups" \
    "$(dirname "$unit")" "$(dirname "$rotate")"
[ -x "$program/bin/python" ] || "$python" -m venv "$program"
source=${CEREBELLUM_WHEEL:-.}
extra=''
! command -v nvidia-smi >/dev/null 2>&1 || extra='[cuda]'
# The service's account may not write there: each of its starts would compile all that it imports.
export UV_COMPILE_BYTECODE=${UV_COMPILE_BYTECODE-1}
install_into "$program" "$source$extra"
# The same version may be another program.
install_into "$program" --force-reinstall --no-deps "$source"
mkdir -p "$program/share"
install -m 644 docs/operations.md docs/troubleshooting.md "$program/share"
if [ -e "$config/production.toml" ]; then
    install -m 640 configs/production.toml "$config/production.toml.new"
else
    install -m 640 configs/production.toml "$config/production.toml"
fi
install -m 644 "configs/$name.service" "$unit"
install -m 644 configs/logrotate "$rotate"
if [ -z "$root" ]; then
    chown root:"$user" "$config" "$config"/*.toml*
    chown -R "$user:$user" "$state" "$logs" "$backups"
    chmod 750 "$config" "$state" "$logs" "$backups"
fi
if [ -n "$live" ]; then
    systemctl daemon-reload
    systemctl enable "$name.service"
    [ -z "$start" ] || systemctl restart "$name.service"
fi
echo "install: $program/bin/$name; configuration: $config/production.toml"
