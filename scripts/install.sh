#!/usr/bin/env bash
# Installs the service on this machine, updates it, goes back to the version before, or removes it.
#
#     sudo bash scripts/install.sh [--root DIR] [--no-start]
#     sudo bash scripts/install.sh --rollback [--no-start]
#     sudo bash scripts/install.sh --uninstall [--purge] [--root DIR]
#
# A first installation does not start the service: its configuration is for a machine with a GPU,
# and somebody should read it. Run again, this installs the program beside the one that is there,
# lets it check the configuration, and changes over only if the configuration is valid or nothing
# runs; a service that runs is then restarted, unless --no-start says not to. Configuration, models,
# backups and logs stay as they are. --rollback changes back to the version that was there before.
# --uninstall removes the program and its units; with --purge also the configuration, models, logs
# and the user. Backups are never removed. --root installs below DIR, for a look at what it would do.
set -euo pipefail
umask 022
caller=$PWD
cd "$(dirname "$0")/.."

say() { echo "install: $*"; }
fail() {
    echo "install: $1" >&2
    exit "${2:-1}"
}

root='' action=install purge='' start=yes
while [ $# -gt 0 ]; do
    case $1 in
        --root)
            [ -n "${2:-}" ] || fail "--root: missing; a directory" 2
            root=$2
            shift
            ;;
        --rollback | --uninstall) action=${1#--} ;;
        --purge) purge=yes ;;
        --no-start) start='' ;;
        *) fail "$1: unknown; --root DIR, --no-start, --rollback, --uninstall, --purge" 2 ;;
    esac
    shift
done
# Paths are meant from where this was called.
case $root in '' | /*) ;; *) root=$caller/$root ;; esac
source=${CEREBELLUM_WHEEL:-$PWD}
case $source in /*) ;; *) source=$caller/$source ;; esac
[ -z "$purge" ] || [ "$action" = uninstall ] || fail "--purge: goes with --uninstall" 2
[ -n "$root" ] || [ "$(id -u)" = 0 ] || fail "not root; sudo, or --root DIR to look" 2

name=cerebellar-norse user=cerebellar
program=$root/opt/$name config=$root/etc/$name state=$root/var/lib/$name
logs=$root/var/log/$name backups=$root/backup/$name
command=$root/usr/local/bin/$name units=$root/etc/systemd/system
releases=$program/releases current=$program/current previous=$program/previous
live=''
[ -n "$root" ] || [ ! -d /run/systemd/system ] || live=yes

# What systemd says of the service: active, activating, failed, inactive, ...
activity() {
    [ -n "$live" ] || return 0
    systemctl is-active "$name.service" || true
}

# Makes a link point to a target, at once for whoever reads it.
point() {
    local target=$1 link=$2
    ln -sfn "$target" "$link.new"
    mv -T "$link.new" "$link"
}

# The problems that a release has with the configuration, a line each; none if it is valid.
problems() {
    local output check=("$1/bin/$name" --config "$config/production.toml" --validate-only)
    if [ -z "$root" ]; then
        check=(runuser -u "$user" -- env HOME="$state" "${check[@]}")
    fi
    output=$("${check[@]}" 2>&1) || grep "^$name: " <<<"$output" || echo "$output"
}

# Makes a release the one that is started, with its units.
change_to() {
    local release=$1
    if [ -L "$current" ] && [ "$(readlink "$current")" != "$release" ]; then
        point "$(readlink "$current")" "$previous"
    fi
    point "$release" "$current"
    point current/bin "$program/bin"
    point current/share "$program/share"
    point "${program#"$root"}/bin/$name" "$command"
    install -m 644 -t "$units" "$program/$release/share/units/$name"*
    if [ -n "$live" ]; then
        systemctl daemon-reload
        systemctl --quiet enable "$name.service"
    fi
}

# Restarts a service that ran, or that failed, before the change.
restart() {
    case $1 in
        '' | inactive) return ;;
    esac
    if [ -z "$start" ]; then
        say "not restarted: the program that was there before still runs"
        return
    fi
    systemctl reset-failed "$name.service" 2>/dev/null || true
    systemctl restart "$name.service" || fail \
        "$name did not start: journalctl -u $name says why; install.sh --rollback goes back"
    say "$name was restarted"
}

uninstall() {
    [ -z "$live" ] || systemctl disable --now "$name.service" "$name-backup.timer" 2>/dev/null || true
    rm -rf "$program" "$command" "$units/$name.service" "$units/$name-backup."*
    if [ -n "$live" ]; then
        systemctl daemon-reload
        systemctl reset-failed "$name.service" 2>/dev/null || true
    fi
    if [ -n "$purge" ]; then
        rm -rf "$config" "$state" "$logs"
        if [ -z "$root" ]; then
            userdel "$user" 2>/dev/null || true
            groupdel "$user" 2>/dev/null || true
        fi
    fi
    say "$name is removed${purge:+ with its configuration, models and logs}; backups stay in $backups"
}

rollback() {
    local release found before
    release=$(readlink "$previous") || fail "there is no version before this one"
    found=$(problems "$program/$release")
    [ -z "$found" ] || fail "the version before does not take the configuration: $found"
    before=$(activity)
    change_to "$release"
    say "now $program/$release"
    restart "$before"
}

# Builds a release below `releases`, whole or not at all; `built` is then its folder.
build() {
    local python revision release extras=service,ticks
    python=$(find_python)
    revision=$(git -c safe.directory="$PWD" describe --always --dirty --exclude '*' 2>/dev/null) ||
        revision=unknown
    release=releases/$(date -u +%Y%m%dT%H%M%S)-$revision
    ! command -v nvidia-smi >/dev/null 2>&1 || extras=$extras,cuda
    trap 'rm -rf "$program/$release"' EXIT
    "$python" -m venv "$program/$release"
    # The service's account may not write there: each of its starts would compile all that it imports.
    export UV_COMPILE_BYTECODE=${UV_COMPILE_BYTECODE-1}
    install_into "$program/$release" "$source[$extras]"
    install -d "$program/$release/share/units" "$program/$release/share/scripts"
    install -m 644 -t "$program/$release/share" docs/operations.md docs/troubleshooting.md
    install -m 644 -t "$program/$release/share/scripts" \
        scripts/analyze_weights.py scripts/backup.sh scripts/soak/requests.py
    install -m 644 -t "$program/$release/share/units" "configs/$name"*
    cp -r configs/prometheus configs/grafana configs/logrotate "$program/$release/share"
    trap - EXIT
    built=$release
}

# Removes all but the releases of now and before, and what other layouts have left.
tidy() {
    local path
    for path in "$releases"/*; do
        case releases/$(basename "$path") in
            "$(readlink "$current")" | "$(readlink "$previous" 2>/dev/null)") ;;
            *) rm -rf "$path" ;;
        esac
    done
    find "$program" -mindepth 1 -maxdepth 1 \
        ! -name releases ! -name current ! -name previous ! -name bin ! -name share \
        -exec rm -rf {} +
}

install_release() {
    local built found before
    if [ -z "$root" ] && ! id "$user" >/dev/null 2>&1; then
        # Whoever reads the log is in this group, so that it may be there without its user.
        getent group "$user" >/dev/null || groupadd --system "$user"
        useradd --system --gid "$user" --home-dir "$state" --shell /usr/sbin/nologin "$user"
    fi
    mkdir -p "$releases" "$config" "$state/models" "$state/data" "$logs" "$backups" \
        "$units" "$(dirname "$command")"
    before=$(activity)
    build
    if [ -e "$config/production.toml" ]; then
        install -m 640 configs/production.toml "$config/production.toml.new"
    else
        install -m 640 configs/production.toml "$config/production.toml"
    fi
    if [ -z "$root" ]; then
        chown root:"$user" "$config" "$config"/*.toml*
        chown -R "$user:$user" "$state" "$logs" "$backups"
        chmod 750 "$config" "$state" "$logs" "$backups"
    fi
    found=$(problems "$program/$built")
    if [ -n "$found" ] && [ "$before" = active ]; then
        rm -rf "${program:?}/$built"
        fail "nothing was changed, the service runs on: the new program refuses: $found"
    fi
    # An earlier layout had folders where there are links now.
    [ -L "$program/bin" ] || rm -rf "$program/bin" "$program/share"
    change_to "$built"
    tidy
    say "$program/$built; configuration: $config/production.toml"
    if [ -n "$found" ]; then
        say "the configuration is not valid on this machine, so nothing is started: $found"
        return
    fi
    restart "$before"
    [ "$before" = active ] || [ -z "$live" ] || say "when you have read it: systemctl start $name"
}

case $action in
    install)
        . scripts/python.sh
        install_release
        ;;
    rollback) rollback ;;
    uninstall) uninstall ;;
esac
