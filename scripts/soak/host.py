"""Walks the operator's guide on a machine with systemd, as a person would: every block of it.

    sudo python scripts/soak/host.py [--keep] [SECTION ...]

The machine is this one, in namespaces of its own: systemd is its process 1, everything that it
writes lies in memory, in a layer over this machine's files, and is gone afterwards. Nothing of this
machine changes. A person `op`, who may use sudo, installs the service from a clone of this
repository and follows docs/operations.md from the installation to the removal. What a procedure
is for is caused before it: a misspelt key, a killed service, a damaged model. "Earlier
models and states" needs the models that procedures 8 and 3 leave. Needs Linux, root,
cgroup2, systemd, sudo, jq, curl, promtool and the package registry. With SECTIONs only these are
walked, after the installation. Exits 1 where a block failed.
"""

import argparse
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import operators_guide  # pyright: ignore[reportMissingImports]

ROOT = Path(__file__).resolve().parents[2]
NEEDED = ("unshare", "nsenter", "sudo", "systemctl", "jq", "curl", "promtool", "openssl")
BOOT_S, SECTION_S = 60.0, 900.0
"""How long a start of the machine and a section may take."""
PASSED_ON = r"(PIP|UV|SSL|CURL|REQUESTS)_\w+"
"""Variables by which this machine's programs find the package registry."""

MASKED = """
systemd-udevd.service systemd-udev-trigger.service systemd-udevd-kernel.socket
systemd-udevd-control.socket systemd-sysctl.service systemd-modules-load.service
systemd-timesyncd.service systemd-resolved.service systemd-networkd.service
systemd-random-seed.service systemd-binfmt.service proc-sys-fs-binfmt_misc.automount
proc-sys-fs-binfmt_misc.mount dev-hugepages.mount dev-mqueue.mount sys-kernel-debug.mount
sys-kernel-tracing.mount sys-fs-fuse-connections.mount sys-kernel-config.mount
systemd-remount-fs.service systemd-firstboot.service systemd-machine-id-commit.service
swap.target getty.target apparmor.service systemd-pstore.service tmp.mount
"""
"""Units of a whole machine, which have nothing to do here."""

BOOT = """
set -e
hostname tick-host
mount -t overlay overlay -o "lowerdir=/,upperdir=$LAYER/upper,workdir=$LAYER/work" "$LAYER/root"
cd "$LAYER/root"
mount -t proc proc proc
mount -o bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount --rbind /dev dev
mount --make-rslave dev
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs tmpfs tmp
mkdir -p run/lock etc/systemd/system
cat >etc/systemd/system/host.target <<END
[Unit]
Requires=basic.target dbus.socket
After=basic.target dbus.socket
AllowIsolate=yes
END
for unit in $MASKED; do ln -sf /dev/null "etc/systemd/system/$unit"; done
: >etc/fstab
exec env -i container=unshare PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot . \
    /lib/systemd/systemd --unit=host.target --log-target=journal --show-status=false
"""

PERSON = """
set -e
useradd --create-home --shell /bin/bash op
printf 'op ALL=(ALL) NOPASSWD: ALL\\nDefaults env_keep += "PIP_* UV_* SSL_* CURL_* REQUESTS_*"\\n' \
    >/etc/sudoers.d/op
chmod 440 /etc/sudoers.d/op
git -c safe.directory='*' clone --quiet --no-hardlinks "$ROOT" /home/op/cerebellum
chown -R op /home/op/cerebellum
"""

TICKS = """
sudo python3 - <<'END'
import random
random.seed(1)
price, step, now = 100.0, 1, 1_700_000_000_000
with open("/var/lib/cerebellar-norse/data/ticks.csv", "w") as file:
    file.write("timestamp,price,volume\\n")
    for _ in range(2000):
        step = step if random.random() < 0.85 else -step
        price, now = price + 0.01 * step, now + random.randint(1, 400)
        file.write(f"{now},{price:.4f},1.0\\n")
END
sudo chown cerebellar: /var/lib/cerebellar-norse/data/ticks.csv
"""

TICK = """
TICK='{"market_id": "A", "price": 1.1, "volume": 1, "timestamp": '$(date +%s%3N)'}'
curl -fsS "$URL/neural/process" -d "$TICK"
"""

SAVED = """
sleep 1
sudo systemctl restart cerebellar-norse
until curl -fsS "$URL/ready"; do sleep 1; done
"""

CAUSES = {
    "Procedure 1": """
sudo sed -i 's/^granule_size/granule_siz/' $CONFIG
sudo systemctl stop cerebellar-norse
""",
    "Procedure 4": "sudo sed -i 's/^device = .*/device = \"cuda\"/' $CONFIG",
    "Procedure 5": "export TICKS=20000",
    "Procedure 3": TICKS,
    "Procedure 6": TICK + SAVED,
    "Procedure 8": TICKS
    + TICK
    + SAVED
    + TICK
    + """
sudo kill -KILL $(systemctl show --property MainPID --value cerebellar-norse)
sudo -u cerebellar cerebellar-norse train --data "$TRAINING_DATA" --out "$TRAINING_RUN" \
    --config "$CONFIG" --epochs 4 --no-plots &
until sudo bash -c "ls -d $TRAINING_RUN/checkpoints/0*"; do sleep 0.2; done >/dev/null 2>&1
sudo pkill -KILL -f -- "[-]-out $TRAINING_RUN"
""",
    "Procedure 7": """
sudo rm -rf "$BACKUPS"/*
sudo cerebellar-norse backup "$MODELS" "$BACKUPS"
sudo python3 - $MODELS <<'END'
import pathlib, sys
files = [p for p in pathlib.Path(sys.argv[1], "checkpoints").glob("0*/arrays/**/*") if p.is_file()]
path = max(files, key=lambda p: p.stat().st_size)
content = bytearray(path.read_bytes())
content[len(content) // 2] ^= 1
path.write_bytes(content)
END
""",
    "Earlier models and states": """
SINCE=$(curl -fsS "$URL/metrics" | grep '^model_loaded_timestamp_seconds')
sudo cerebellar-norse restore "$TRAINING_RUN" "$MODELS" --force
sudo systemctl reload cerebellar-norse
until ! curl -fsS "$URL/metrics" | grep -F "$SINCE"; do sleep 1; done
sudo cerebellar-norse backup "$MODELS/service" "$BACKUPS/service-before"
""",
    "Procedure 9": "cd ~",
}
"""What is done before a section, so that it has something to mend."""

AFTER = {
    "Install": "curl -fsS $URL/health | jq -e '.status == \"healthy\"'",
    "Keys": "sudo sed -i /api_key_file/d $CONFIG; sudo systemctl restart cerebellar-norse",
    "Procedure 3": "sudo sed -i 's/^learning_rate = 0.0003/learning_rate = 0.001/' $CONFIG",
}
"""What is done after a section, so that the next one finds the machine as it should be."""

ORDER = (
    "Install",
    "Procedure 8",
    "Procedure 6",
    "Procedure 1",
    "Procedure 2",
    "Procedure 4",
    "Procedure 5",
    "Procedure 3",
    "Earlier models and states",
    "Procedure 7",
    "Reset a market",
    "Procedure 9",
    "Backups",
    "Prometheus and Grafana",
    "Keys",
    "Logs",
    "Upgrade, go back, remove",
)


@dataclass
class Host:
    """A machine with systemd, in namespaces of its own."""

    layer: Path
    process: subprocess.Popen = field(init=False)

    def __post_init__(self):
        for name in ("upper", "work", "root"):
            (self.layer / name).mkdir()
        environment = {**os.environ, "LAYER": str(self.layer), "MASKED": MASKED}
        kinds = "--mount --pid --fork --uts --ipc --cgroup --kill-child --propagation private"
        self.process = subprocess.Popen(
            ["unshare", *kinds.split(), "bash", "-c", BOOT],
            env=environment,
            preexec_fn=self._enter_group,
            stdin=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + BOOT_S
        while self.run("root", "systemctl is-active basic.target").returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                sys.exit("host: systemd did not start here")
            time.sleep(0.5)

    def _enter_group(self) -> None:
        """Enter a control group of its own, which becomes the machine's root group."""
        group = _group()
        group.mkdir(exist_ok=True)
        (group / "cgroup.procs").write_text(str(os.getpid()))

    def run(self, user: str, text: str, timeout: float = SECTION_S) -> subprocess.CompletedProcess:
        """A script of a user's, in a login shell that stops at the first failure."""
        kept = [f"{k}={v}" for k, v in os.environ.items() if re.fullmatch(PASSED_ON, k)]
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        ids = children.read_text().split() if children.exists() else []
        if not ids:
            return subprocess.CompletedProcess([], 1, "", "")
        inside = ["nsenter", "-t", ids[0], "-m", "-p", "-u", "-i", "-C", "-r", "-w"]
        path = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        shell = ["env", "-i", f"HOME=/home/{user}", "TERM=dumb", "LANG=C.UTF-8", path, *kept]
        names = ",".join(each.partition("=")[0] for each in kept)
        shell += ["su", "-w", names, "-", user, "-c", "cat >~/.block; exec bash ~/.block"]
        return subprocess.run(
            [*inside, *shell],
            input="set -euo pipefail\n" + text,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )

    def stop(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()


def _group() -> Path:
    """The control group of the machine.

    Raises:
      SystemExit: control groups of version 2 are not mounted.
    """
    for line in Path("/proc/mounts").read_text().splitlines():
        _, place, kind, *_ = line.split()
        if kind == "cgroup2":
            return Path(place) / "cerebellar-host"
    sys.exit("host: no cgroup2 file system; mount one")


@contextmanager
def memory_folder() -> Iterator[Path]:
    """A folder whose files lie in memory."""
    folder = Path(tempfile.mkdtemp(prefix="cerebellar-host-"))
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12g", "tmpfs", str(folder)], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=False)
        folder.rmdir()


def walk(host: Host, names: Sequence[str]) -> int:
    """Walk sections; returns how many failed."""
    blocks, failed = operators_guide.sections(), 0
    definitions = "\n".join(blocks["names"])
    for name in names:
        text = [definitions, "cd ~/cerebellum", CAUSES.get(name, ""), *blocks[name]]
        began = time.monotonic()
        try:
            result = host.run("op", "\n".join([*text, AFTER.get(name, "")]))
            code, output = result.returncode, result.stdout
        except subprocess.TimeoutExpired as error:
            code, output = 124, str(error.stdout or "")
        failed += code != 0
        verdict = "as written" if code == 0 else f"failed, exit code {code}"
        print(f"{name}: {verdict}, {time.monotonic() - began:.0f} s", flush=True)
        if code != 0:
            print("\n".join(f"    {line}" for line in output.splitlines()[-25:]), flush=True)
    return failed


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("sections", nargs="*", metavar="SECTION", choices=[[], *ORDER])
    parser.add_argument("--keep", action="store_true", help="wait for Enter before it is removed")
    arguments = parser.parse_args()
    # What was started is ended also after SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if os.geteuid() != 0 or missing:
        parser.error(
            f"needs root and: {', '.join(NEEDED)}; not here: {', '.join(missing) or 'root'}"
        )
    unknown = set(operators_guide.sections()) - {"names", *ORDER}
    if unknown:
        guide = operators_guide.GUIDE.name
        sys.exit(f"host: sections of {guide} without a place in the walk: {', '.join(unknown)}")
    names = [name for name in ORDER if name in arguments.sections or not arguments.sections]
    with memory_folder() as folder:
        host = Host(folder)
        try:
            made = host.run("root", f"ROOT={ROOT}\n{PERSON}")
            if made.returncode != 0:
                sys.exit(f"host: {made.stdout}")
            failed = walk(host, ["Install", *(name for name in names if name != "Install")])
            if arguments.keep:
                print(f"nsenter -t $(pgrep -P {host.process.pid}) -m -p -u -i -C -r -w")
                sys.stdin.readline()
        finally:
            host.stop()
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
