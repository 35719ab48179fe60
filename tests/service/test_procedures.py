"""Runs the operator's guide: every block of docs/operations.md, on a simulated machine.

`sudo`, `systemctl` and `journalctl` are small programs that do the same for the one unit.
Everything else is real.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import operators_guide
import pytest
import serving
from conftest import ROOT
from learn import series

from cerebellum import store

SHIMS = {
    "sudo": """
[ "$1" != -u ] || shift 2
case "$*" in *scripts/install.sh*) exec "$@" --root "$SANDBOX/root" --no-start ;; esac
exec "$@"
""",
    "systemctl": """
unit=$SANDBOX/unit
stop() {
    [ -s "$unit" ] || return 0
    kill -TERM "$(cat "$unit")" 2>/dev/null || true
    while kill -0 "$(cat "$unit")" 2>/dev/null; do sleep 0.1; done
    rm -f "$unit"
}
start() {
    case ${2:-} in
        *-backup*) bash "$PROGRAM/share/scripts/backup.sh" >>"$SANDBOX/journal"; return ;;
    esac
    cerebellar-norse --config "$CONFIG" --validate-only 2>>"$SANDBOX/journal" || return 1
    setsid cerebellar-norse --config "$CONFIG" >>"$SANDBOX/journal" 2>&1 </dev/null &
    echo $! >"$unit"
}
case $1 in
    start) start "$@" ;;
    stop) stop ;;
    restart) stop; start "$@" ;;
    reload) kill -HUP "$(cat "$unit")" ;;
    show) cat "$unit" ;;
    enable | reset-failed) ;;
    *) exit 2 ;;
esac
""",
    "journalctl": 'tail -n 20 "$SANDBOX/journal"',
    "usermod": "",
    # There is no such user here.
    "install": """
kept=()
while [ $# -gt 0 ]; do
    case $1 in -o | -g) shift ;; *) kept+=("$1") ;; esac
    shift
done
exec /usr/bin/install "${kept[@]}"
""",
}
"""What stands for programs that change the machine."""


SECTIONS = operators_guide.sections()


class Machine:
    """A folder that simulates a machine."""

    def __init__(self, folder: Path):
        self.folder, self.port = folder, serving.free_port()
        self.config = serving.configuration(
            folder,
            self.port,
            performance={"device": "cpu", "batch_size": 1},
            training={
                "method": "climbing_fiber",
                "learning_rate": 0.001,
                "checkpoint_interval": 1.0,
                "batch_size": 8,
            },
        )
        programs = folder / "programs"
        programs.mkdir()
        for name, text in SHIMS.items():
            path = programs / name
            path.write_text(f"#!/usr/bin/env bash\nset -eu\n{text}")
            path.chmod(0o755)
        (folder / "journal").touch()
        for link, target in (
            ("current/bin/python", sys.executable),
            ("share/scripts/analyze_weights.py", ROOT / "scripts/analyze_weights.py"),
            ("share/scripts/backup.sh", ROOT / "scripts/backup.sh"),
            ("share/scripts/requests.py", ROOT / "scripts/soak/requests.py"),
            ("share/prometheus", ROOT / "configs/prometheus"),
        ):
            path = folder / "program" / link
            path.parent.mkdir(parents=True, exist_ok=True)
            # Python finds its environment beside the path by which it is called.
            if link == "current/bin/python":
                path.write_text(f'#!/bin/sh\nexec {target} "$@"\n')
                path.chmod(0o755)
            else:
                path.symlink_to(target)
        (folder / "data").mkdir()
        series.write(folder / "data/ticks.csv", series.steps(2_000, 0.85, 0))
        self.env = {
            **os.environ,
            "PATH": f"{programs}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "SANDBOX": str(folder),
            "CONFIG": str(self.config),
            "MODELS": str(folder / "models"),
            "BACKUPS": str(folder / "backups"),
            "LOG": str(folder / "log/application.log"),
            "URL": f"http://127.0.0.1:{self.port}",
            "PROGRAM": str(folder / "program"),
            "KEYS": str(folder / "keys"),
            "TICKS": "20000",
            "TRAINING_DATA": str(folder / "data/ticks.csv"),
            "TRAINING_RUN": str(folder / "run"),
        }

    def run(self, text: str) -> str:
        """Run a script in the project's root; returns its output."""
        result = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", text],
            cwd=ROOT,
            env=self.env,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert result.returncode == 0, f"{text}\n{result.stdout}\n{result.stderr}"
        return result.stdout + result.stderr

    def procedure(self, name: str) -> str:
        """The blocks of a section, in one shell, after the names."""
        return self.run("\n".join([*SECTIONS["names"], *SECTIONS[name]]))

    def start(self) -> None:
        self.run(
            'systemctl start; curl -fsS --retry 200 --retry-delay 1 --retry-all-errors "$URL/ready"'
        )

    def ask(self, index: int, market: str = "EUR/USD") -> list[float]:
        body = json.dumps({"market_id": market, **serving.tick(index)})
        result = self.run(f"curl -fsS \"$URL/neural/process\" -d '{body}'")
        return json.loads(result)["trading_signals"]

    def change(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))

    def kill(self) -> None:
        number = int((self.folder / "unit").read_text())
        os.kill(number, signal.SIGKILL)
        serving.until(lambda: ended(number))
        (self.folder / "unit").unlink()


def ended(number: int) -> bool:
    """Whether a process is gone, or waits for its parent only."""
    try:
        state = Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return True
    return state == "Z"


@pytest.fixture
def machine(tmp_path):
    machine = Machine(tmp_path)
    yield machine
    machine.run("systemctl stop || true")


def test_every_section_with_commands_is_run_here():
    """A block that no test runs would go out of date."""
    here = Path(__file__).read_text()
    assert all(f'"{name}"' in here for name in SECTIONS), SECTIONS.keys()


@pytest.mark.slow
def test_install_upgrade_go_back_and_remove(machine):
    # The programs that are started are not the installed ones.
    machine.env["UV_COMPILE_BYTECODE"] = "0"
    output = machine.procedure("Install")
    assert '"status":"healthy"' in output
    assert "/neural/process" in output
    assert '"message": "as read"' in output
    assert "configuration is not valid on this machine, so nothing is started" in output
    assert machine.config.with_name("service.toml.good").exists()
    machine.run("systemctl stop")

    root = machine.folder / "root"
    program, config = root / "opt/cerebellar-norse", root / "etc/cerebellar-norse/production.toml"
    unit = root / "etc/systemd/system/cerebellar-norse.service"
    first = (program / "current").readlink()
    assert (program / "bin/cerebellar-norse").exists()
    for name in (
        "scripts/analyze_weights.py",
        "scripts/requests.py",
        "prometheus/rules.yml",
        "grafana/dashboard.json",
        "logrotate",
        "operations.md",
    ):
        assert (program / "share" / name).is_file(), name
    assert (root / "usr/local/bin/cerebellar-norse").readlink() == Path(
        "/opt/cerebellar-norse/bin/cerebellar-norse"
    )
    assert unit.exists()
    assert not config.with_name("production.toml.new").exists()
    assert re.search(r"^granule_size = 4000000$", config.read_text(), re.M)
    machine.run(f"{program}/bin/cerebellar-norse --dump-schema >/dev/null")
    machine.run(f"{program}/current/bin/python -c 'import fastapi, polars, uvicorn'")
    config.write_text("# mine\n")

    blocks = SECTIONS["Upgrade, go back, remove"]
    names = SECTIONS["names"]
    machine.run("\n".join([*names, blocks[0]]))
    second = (program / "current").readlink()
    assert ((program / "previous").readlink(), config.read_text()) == (first, "# mine\n")
    assert second != first
    assert config.with_name("production.toml.new").exists()
    machine.run("\n".join([*names, blocks[1]]))
    assert (program / "current").readlink() == first
    assert (program / "previous").readlink() == second
    assert (program / "bin/cerebellar-norse").resolve().is_relative_to(program / first)

    machine.run("\n".join([*names, blocks[2]]))
    assert not program.exists()
    assert not unit.exists()
    assert config.read_text() == "# mine\n"
    # A relative folder is meant from where the command is given.
    machine.run(f'cd "$SANDBOX"; bash {ROOT}/scripts/install.sh --uninstall --purge --root root')
    assert not config.exists()
    assert (root / "backup/cerebellar-norse").is_dir()
    machine.run("bash scripts/install.sh --root $SANDBOX/root --what && exit 1 || [ $? = 2 ]")
    machine.run("bash scripts/install.sh --root $SANDBOX/root --rollback && exit 1 || [ $? = 1 ]")


def test_prometheus_reads_what_is_installed(machine):
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed")
    assert machine.procedure("Prometheus and Grafana").count("SUCCESS") == 2


@pytest.mark.slow
def test_keys_and_backups(machine):
    machine.start()
    machine.procedure("Keys")
    assert len((machine.folder / "keys").read_text().split()) == 1
    assert (machine.folder / "keys").stat().st_mode & 0o777 == 0o600
    machine.run("systemctl stop")
    machine.env["KEEP"] = "2"
    machine.procedure("Backups")
    output = machine.procedure("Backups")
    assert "configuration service" in output
    assert '"ok": true' in output
    daily = machine.folder / "backups/daily"
    (daily / "20200101T000000Z").mkdir()
    machine.run("systemctl start cerebellar-norse-backup.service")
    kept = sorted(path.name for path in daily.iterdir())
    assert len(kept) == 2
    assert "20200101T000000Z" not in kept
    assert (daily / kept[-1] / "service.toml").read_text() == machine.config.read_text()
    (machine.folder / "models/service/checkpoints/000000000000/manifest.json").write_text("{")
    machine.run("systemctl start cerebellar-norse-backup.service && exit 1 || true")
    assert sorted(path.name for path in daily.iterdir()) == kept


@pytest.mark.slow
def test_procedure_1_it_does_not_start(machine):
    machine.change("granule_size = ", "granule_siz = ")
    output = machine.procedure("Procedure 1")
    assert "neural.granule_siz: unknown key; perhaps neural.granule_size" in output
    assert '"ready":true' in output


@pytest.mark.soak
@pytest.mark.slow
def test_procedure_2_latency(machine):
    machine.change("batch_size = 1", "batch_size = 4")
    machine.start()
    machine.ask(0)
    output = machine.procedure("Procedure 2")
    assert "processing_duration_seconds_bucket" in output
    assert "whole, per simulated step" in output
    assert "batch_size = 1" in machine.config.read_text()


@pytest.mark.slow
def test_procedure_3_not_converging_and_what_the_log_says_of_it(machine):
    machine.start()
    output = machine.procedure("Procedure 3")
    assert '"state": "completed"' in output
    assert re.search(r"(buy|sell): [\d,]+ samples to learn from; 10,000 or more are better", output)
    assert "granule_purkinje" in output
    assert "learning_rate = 0.0003" in machine.config.read_text()
    # The market goes on, with the model that was trained.
    assert sum(machine.ask(0)) == pytest.approx(1)
    machine.run("systemctl stop")
    # What cannot change live, and the time of the last ticks.
    said = machine.procedure("Logs").splitlines()
    assert "training.learning_rate: cannot change live" in said[0]
    assert said[-1].isdecimal()


@pytest.mark.soak
@pytest.mark.slow
def test_procedure_4_the_device(machine):
    machine.change(f"granule_size = {serving.GRANULES}", "granule_size = 3000000000")
    # As many of the others as go with so many, or it is they that are refused.
    machine.change("purkinje_size = 12\n", "")
    machine.change("dcn_size = 48\n", "")
    machine.change('device = "cpu"', 'device = "cuda"')
    # It is removed: not the one that all tests share.
    compiled = machine.folder / "compiled"
    compiled.mkdir()
    (compiled / "broken").touch()
    machine.env["JAX_COMPILATION_CACHE_DIR"] = str(compiled)
    output = machine.procedure("Procedure 4")
    assert "performance.device: no CUDA device on this machine" in output
    assert "neural.granule_size: needs" in output
    assert '"ready":true' in output
    assert not (compiled / "broken").exists()


@pytest.mark.soak
@pytest.mark.slow
def test_procedure_5_memory(machine):
    machine.start()
    output = machine.procedure("Procedure 5")
    memory = re.search(r"'warm': ([\d.]+), 'end': ([\d.]+)", output)
    assert memory is not None
    assert float(memory[2]) < 1.05 * float(memory[1])


@pytest.mark.slow
def test_procedure_7_corrupt_data(machine, trained):
    # Or it would go on learning from what it is asked.
    machine.change("climbing_fiber", "surrogate_gradient")
    shutil.copytree(trained[0], machine.folder / "models")
    machine.start()
    before = [machine.ask(i) for i in range(3)]
    machine.run('systemctl stop; cerebellar-norse backup "$MODELS" "$BACKUPS"')
    whole = sorted((machine.folder / "models/checkpoints").glob("*/arrays/**/*"))
    data = max((p for p in whole if p.is_file()), key=lambda p: p.stat().st_size)
    text = bytearray(data.read_bytes())
    text[len(text) // 2] ^= 1
    data.write_bytes(text)
    output = machine.procedure("Procedure 7")
    assert str(data.relative_to(machine.folder / "models")) in output
    assert len(list((machine.folder / "models").glob("checkpoints.replaced-*"))) == 1
    after = [machine.ask(i, "another market") for i in range(3)]
    np.testing.assert_array_equal(after, before)


@pytest.mark.slow
def test_earlier_models_and_states(machine, trained):
    machine.change("climbing_fiber", "surrogate_gradient")
    models = machine.folder / "models"
    machine.run(f'cerebellar-norse restore {trained[0]} "$MODELS"')
    machine.start()
    first = machine.ask(0)
    serving.until(lambda: list((models / "service/checkpoints").glob("0*")))
    machine.run('cerebellar-norse backup "$MODELS/service" "$BACKUPS/service-before"')
    # Another model: the same weights as of another step.
    (path,) = (models / "checkpoints").glob("0*")
    saved = store.load(path)
    store.write(machine.folder / "other/checkpoints", saved.step + 1, saved.arrays, saved.about)
    machine.run(
        'cerebellar-norse restore "$SANDBOX/other" "$MODELS" --force; systemctl reload; '
        f'until curl -fsS "$URL/health" | jq -e \'.model == "models/{saved.step + 1}"\'; '
        "do sleep 1; done"
    )
    machine.ask(1)
    output = machine.procedure("Earlier models and states")
    assert f'model_info{{name="models/{saved.step}",' in output
    assert "model_missing 0.0" in output
    assert "service/checkpoints/000000000001" in output
    assert machine.ask(1) != first
    assert len(list(models.glob("service-of-another-*"))) == 1
    assert len(list(models.glob("checkpoints.replaced-*"))) == 2


@pytest.mark.slow
def test_procedure_8_killed_and_procedure_6_critical_failure(machine):
    machine.start()
    answers = [machine.ask(i) for i in range(3)]
    serving.until((machine.folder / "models/service/checkpoints/000000000003").is_dir)
    machine.ask(3)
    machine.kill()
    machine.run(
        'cerebellar-norse train --data "$TRAINING_DATA" --out "$TRAINING_RUN" --config "$CONFIG" '
        "--epochs 2 --no-plots & "
        'until ls -d "$TRAINING_RUN"/checkpoints/0*; do kill -0 $!; sleep 0.1; done; kill -KILL $!'
    )
    output = machine.procedure("Procedure 8")
    assert re.search(r"1 ticks were answered after the last checkpoint", output)
    assert "service/checkpoints/000000000003" in output
    assert (machine.folder / "run/result.json").exists()
    # As if the last tick had never been.
    again = machine.ask(3)
    assert again != answers[-1]
    assert '"reset":true' in machine.procedure("Reset a market")
    assert [machine.ask(i) for i in range(3)] == answers

    (machine.folder / "service.toml.good").write_text(machine.config.read_text())
    output = machine.procedure("Procedure 6")
    assert "true" in output
    backups = machine.folder / "backups/service-before/checkpoints"
    assert len(list(backups.iterdir())) == 1
    assert len(list((machine.folder / "models").glob("service-of-another-*"))) == 1


@pytest.mark.soak
@pytest.mark.slow
def test_procedure_9_slower(machine):
    output = machine.procedure("Procedure 9")
    assert "before" in output
