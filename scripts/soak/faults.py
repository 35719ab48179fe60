"""A service under load is killed, its disk is full, its clock jumps: what is lost, what is said.

    sudo python scripts/soak/faults.py [--kills 30] [--seed 0] [--only kills disk clock hostile]

Eight connections send ticks of a market each and count what was answered. The service's files lie
on a small file system of their own, in memory.

* kills: SIGKILL at random moments. After each start, the ticks that the restored state knows of and
  those that the log says were lost are all that were ever answered, and no others than those that
  were in flight; the state that is restored is at most an interval and a save old.
* disk: the file system is full for 10 s, twice. Every tick is answered, /health is degraded and
  recovers, and after SIGTERM nothing is lost.
* clock: the clock that the service's Python reads jumps by hours and days, forwards and back. Every
  tick is answered, and checkpoints are written.
* hostile: beside the load, bodies of noise, half requests, HTTP that is none, and clients that do
  not read. Every tick of the load is answered.

Exits 1 where something else happened. Needs root. Sends to this machine only.
"""

import argparse
import contextlib
import multiprocessing
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPException
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests"))
import serving  # pyright: ignore[reportMissingImports]

CONNECTIONS = 8
INTERVAL_S = 1.0
"""Between checkpoints."""
JUMPS = {"an hour on": 1, "two hours back": -1, "30 days on": 720, "31 days back": -24, "true": 0}
"""Where the clock is after each jump, hours from the true time."""
SHIFTED = """
import time
true = time.time
def shifted():
    with open({0!r}) as file:
        return true() + float(file.read())
time.time = shifted
"""


@dataclass
class Load:
    """Clients, each with a market, and what they were answered."""

    service: serving.Serving
    answered: list[float] = field(default_factory=list)
    """when each answer came, monotonic s"""
    refused: list[str] = field(default_factory=list)
    """answers other than 200, and requests without one"""
    going: threading.Event = field(default_factory=threading.Event)
    ended: threading.Event = field(default_factory=threading.Event)

    def client(self, number: int) -> None:
        index, idle = 0, 0.001
        while not self.ended.is_set():
            if not self.going.wait(0.1):
                continue
            try:
                status, body = self.service.tick(f"market {number}", index)
            except (OSError, HTTPException) as error:
                self.refused.append(f"no answer: {type(error).__name__}")
                time.sleep(0.05)
                continue
            if status == 200:
                self.answered.append(time.monotonic())
                index += 1
            elif status == 422 and "time" in str(body):
                # It was answered before the service was killed, without our knowing.
                index += 1
            else:
                self.refused.append(f"{status}: {body}")
            time.sleep(idle)


@contextmanager
def loaded(service: serving.Serving) -> Iterator[Load]:
    """Clients that send while the block lasts."""
    load = Load(service)
    threads = [threading.Thread(target=load.client, args=(k,)) for k in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    load.going.set()
    try:
        yield load
    finally:
        load.ended.set()
        for thread in threads:
            thread.join()


@contextmanager
def small_disk(megabytes: int) -> Iterator[Path]:
    """A file system in memory."""
    folder = Path(tempfile.mkdtemp())
    mount = "mount", "-t", "tmpfs", "-o", f"size={megabytes}m", "tmpfs", str(folder)
    subprocess.run(mount, check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)
        folder.rmdir()


@contextmanager
def served(folder: Path) -> Iterator[serving.Serving]:
    sections = {"training": {"checkpoint_interval": INTERVAL_S}}
    service = serving.serve(folder, **sections)
    try:
        yield service
    finally:
        service.process.kill()
        service.process.wait()


def metric(service: serving.Serving, name: str) -> float:
    lines = service.get("/metrics")[1].splitlines()
    return sum(float(line.rpartition(" ")[2]) for line in lines if line.startswith(name))


def status(service: serving.Serving) -> str:
    return service.get("/health")[1]["status"]


def restored(service: serving.Serving) -> int:
    """The ticks of the state that was restored last; 0 where there was none yet."""
    lines = [line for line in service.log() if line["message"] == "state restored"]
    return lines[-1]["fields"]["ticks"] if lines else 0


def lost(service: serving.Serving) -> list[int]:
    """The ticks that each start said were lost."""
    return [
        line["fields"]["ticks_lost"] for line in service.log() if "ticks_lost" in line["fields"]
    ]


def kills(folder: Path, count: int, rng: random.Random) -> list[str]:
    problems, ages = [], []
    with served(folder) as service, loaded(service) as load:
        ready = time.monotonic()
        for _ in range(count):
            time.sleep(rng.uniform(0.2, 3.0))
            service.process.kill()
            service.process.wait()
            killed = time.monotonic()
            load.going.clear()
            time.sleep(0.3)
            answered = list(load.answered)
            service.start()
            known = restored(service) + sum(lost(service))
            if not len(answered) <= known <= len(answered) + CONNECTIONS * count:
                problems.append(f"{len(answered)} ticks were answered, {known} are accounted for")
            told = lost(service)[-1] if lost(service) else 0
            if told and len(answered) > told:
                ages.append(killed - max(ready, answered[-told - 1]))
            ready = time.monotonic()
            load.going.set()
        time.sleep(2)
        load.going.clear()
        time.sleep(0.5)
        total, forgotten = len(load.answered), sum(lost(service))
        if service.stop() != 0:
            problems.append("SIGTERM: exit code is not 0")
        service.start()
        known = restored(service) + sum(lost(service))
        if sum(lost(service)) != forgotten:
            problems.append("ticks were lost after SIGTERM")
        unknown = known - total
        if not 0 <= unknown <= CONNECTIONS * count:
            problems.append(f"{total} ticks were answered, {known} are accounted for")
        print(
            f"kills: {count}, {total:,} ticks answered, {forgotten:,} of them after the last "
            f"checkpoint and forgotten, as the log says; {unknown} answers were on their way. "
            f"From the state that came back to the kill it was {max(ages, default=0):.1f} s at most"
        )
        if max(ages, default=0) > 2 * INTERVAL_S + 1:
            problems.append(f"a state of {max(ages):.1f} s before the kill was the newest")
    return problems


def disk(folder: Path, count: int, rng: random.Random) -> list[str]:
    del count, rng
    problems, filling = [], folder / "filling"
    with served(folder) as service, loaded(service) as load:
        time.sleep(3)
        for _ in range(2):
            with contextlib.suppress(OSError), filling.open("wb", buffering=0) as file:
                while True:
                    file.write(bytes(1 << 16))
            began, before = time.monotonic(), metric(service, "checkpoint_failures_total")
            serving.until(lambda: status(service) == "degraded", 30, every=0.2)
            noticed = time.monotonic() - began
            time.sleep(10)
            failures = metric(service, "checkpoint_failures_total") - before
            filling.unlink()
            freed = time.monotonic()
            serving.until(lambda: status(service) == "healthy", 30, every=0.2)
            print(
                f"disk: full, degraded after {noticed:.1f} s, {failures:.0f} saves failed; with "
                f"room again, healthy after {time.monotonic() - freed:.1f} s"
            )
        load.going.clear()
        time.sleep(0.5)
        if load.refused:
            problems.append(f"{len(load.refused)} refused: {load.refused[0]}")
        if service.stop() != 0:
            problems.append("SIGTERM: exit code is not 0")
        service.start()
        if lost(service) or restored(service) != len(load.answered):
            problems.append(f"{len(load.answered)} answered, {restored(service)} restored")
        lines = sum(line["level"] in ("ERROR", "WARNING") for line in service.log())
        print(f"disk: {len(load.answered):,} ticks, all answered, none lost; {lines} lines in all")
    return problems


def clock(folder: Path, count: int, rng: random.Random) -> list[str]:
    del count, rng
    problems, offset = [], folder / "offset"
    offset.write_text("0")
    (folder / "python").mkdir()
    (folder / "python/sitecustomize.py").write_text(SHIFTED.format(str(offset)))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(folder / "python"), before)))
    with served(folder) as service:
        with loaded(service) as load:
            for jump, hours in JUMPS.items():
                work = offset.with_name("offset-next")
                work.write_text(str(hours * 3600))
                work.replace(offset)
                time.sleep(1)
                saved, answered = restored_number(folder), len(load.answered)
                time.sleep(4)
                if restored_number(folder) <= saved:
                    problems.append(f"clock: {jump}: no checkpoint in 4 s")
                if status(service) != "healthy":
                    problems.append(f"clock: {jump}: {service.get('/health')[1]}")
                now = service.log()[-1]["timestamp"]
                print(
                    f"clock: {jump}: log at {now}, {len(load.answered) - answered:,} ticks in 4 s"
                )
            if load.refused:
                problems.append(f"clock: {len(load.refused)} refused: {load.refused[0]}")
            load.going.clear()
            time.sleep(0.5)
            if service.stop() != 0:
                problems.append("clock: SIGTERM: exit code is not 0")
        service.start()
        if before is None:
            del os.environ["PYTHONPATH"]
        else:
            os.environ["PYTHONPATH"] = before
        if lost(service) or restored(service) != len(load.answered):
            problems.append(f"clock: {len(load.answered)} answered, {restored(service)} restored")
    return problems


def restored_number(folder: Path) -> int:
    """The ticks of the newest checkpoint."""
    names = [path.name for path in (folder / "models/service/checkpoints").glob("[0-9]*")]
    return int(max(names, default="0"))


def attack(port: int, seconds: float, seed: int) -> int:
    """Send what is no request, and leave connections open; returns how many were sent."""
    rng, sent, slow = random.Random(seed), 0, []
    post = b"POST /neural/process HTTP/1.1\r\nhost: localhost\r\n"

    def body(text: bytes) -> bytes:
        return post + b"content-length: %d\r\n\r\n" % len(text) + text

    noise: list[Callable[[], bytes]] = [
        lambda: rng.randbytes(rng.randint(1, 4096)),
        lambda: post + b"content-length: 100\r\n\r\n{",
        lambda: post + b"content-length: -1\r\n\r\n",
        lambda: post + b"transfer-encoding: chunked\r\n\r\n" + rng.randbytes(40),
        lambda: b"GET /metrics HTTP/1.1\r\nhost: localhost\r\n\r\n" * 50,
        lambda: b"GET / HTTP/1.1\r\nhost: localhost\r\nx: " + b"a" * 70_000 + b"\r\n\r\n",
        lambda: body(b'{"market_id": "' + rng.randbytes(20) + b'"}'),
        lambda: body(b"[" * 5_000),
        lambda: body(b'{"market_id": "m", "price": 1e999, "volume": 1, "timestamp": 1}'),
    ]
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        connection = socket.create_connection(("127.0.0.1", port), timeout=5)
        with contextlib.suppress(OSError):
            connection.sendall(rng.choice(noise)())
            sent += 1
        if rng.random() < 0.2:
            slow.append(connection)  # It is not read, and closed much later.
        else:
            connection.close()
        if len(slow) > 300:
            slow.pop(0).close()
        time.sleep(0.001)
    for connection in slow:
        connection.close()
    return sent


def hostile(folder: Path, count: int, rng: random.Random) -> list[str]:
    problems = []
    with (
        served(folder) as service,
        loaded(service) as load,
        ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool,
    ):
        begin, answered, seconds = resident(service), len(load.answered), 5
        time.sleep(seconds)
        alone = (len(load.answered) - answered) / seconds
        answered = len(load.answered)
        sent = pool.submit(attack, service.port, count, rng.randrange(1 << 30)).result()
        beside = (len(load.answered) - answered) / count
        load.going.clear()
        time.sleep(0.5)
        if load.refused:
            problems.append(f"hostile: {len(load.refused)} refused: {load.refused[0]}")
        if status(service) != "healthy":
            problems.append(f"hostile: {service.get('/health')[1]}")
        errors = [line["message"] for line in service.log() if line["level"] == "ERROR"]
        if "Traceback" in service.said():
            problems.append("hostile: a traceback left the process")
        print(
            f"hostile: {sent:,} in {count} s; {beside:.0f} ticks a second beside them, all "
            f"answered, {alone:.0f} without them; {len(errors)} lines of ERROR; resident "
            f"{begin:.0f} MB before, {resident(service):.0f} MB after"
        )
        problems += [f"hostile: {errors[0]}"] if errors else []
    return problems


def resident(service: serving.Serving) -> float:
    """MB."""
    return metric(service, "process_resident_memory_bytes") / 1e6


FAULTS = {"kills": kills, "disk": disk, "clock": clock, "hostile": hostile}


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--kills", type=int, default=30, help="also the seconds of hostile load")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", nargs="+", choices=FAULTS, default=list(FAULTS))
    arguments = parser.parse_args()
    # What was started is ended also after SIGTERM.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    problems = []
    for name in arguments.only:
        with small_disk(128) as folder:
            rng = random.Random(arguments.seed)
            problems += FAULTS[name](folder, arguments.kills, rng)
    for problem in problems:
        print(problem)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
