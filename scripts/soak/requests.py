"""A load of ticks on a service of this machine: rates, quantiles, statuses, resident memory.

    python scripts/soak/requests.py [--url http://127.0.0.1:8080] [--requests 100000]
        [--connections 8] [--markets 8] [--random] [--json]

Each connection sends the ticks of its own markets, one after the other. With --random every body is
noise. Resident memory is what /metrics says, after a tenth of the requests (warm) and at the end.
Exits 1 where an answer was neither 200 nor, with --random, 422. Sends to loopback addresses only.
"""

import argparse
import asyncio
import json
import random
import re
import sys
import time
import urllib.request
from collections import Counter
from urllib.parse import urlsplit

import numpy as np

LOOPBACK = ("127.0.0.1", "localhost", "::1")
WORDS = [
    "{",
    "}",
    "[",
    "]",
    '"',
    ":",
    ",",
    "null",
    "true",
    "price",
    "NaN",
    "1e999",
    "-",
    "\\u00",
    "é",
]


def resident(url: str) -> float:
    """Bytes."""
    with urllib.request.urlopen(f"{url}/metrics", timeout=30) as answer:
        found = re.search(rb"^process_resident_memory_bytes (\S+)", answer.read(), re.M)
    assert found is not None
    return float(found[1])


def body(rng: random.Random, market: str, time_ms: int, noise: bool) -> bytes:
    if noise:
        return "".join(rng.choice(WORDS) for _ in range(rng.randint(0, 60))).encode()
    price = 100 + 0.01 * rng.randint(-20, 20)
    told = {"market_id": market, "price": price, "volume": 1.5, "timestamp": time_ms}
    return json.dumps(told).encode()


async def one(host: str, port: int, number: int, given: argparse.Namespace, seen: Counter) -> list:
    """A connection: its latencies, s."""
    rng, spans = random.Random(number), []
    reader, writer = await asyncio.open_connection(host, port)
    begin = int(time.time() * 1000)
    share = given.requests // given.connections + (number < given.requests % given.connections)
    for index in range(share):
        market = f"load-{number}-{index % given.markets}"
        text = body(rng, market, begin + index, given.random)
        head = (
            f"POST /neural/process HTTP/1.1\r\nhost: {host}\r\ncontent-length: {len(text)}\r\n\r\n"
        )
        began = time.perf_counter()
        writer.write(head.encode() + text)
        lines = (await reader.readuntil(b"\r\n\r\n")).split(b"\r\n")
        length = next(int(x[15:]) for x in lines if x.lower().startswith(b"content-length:"))
        await reader.readexactly(length)
        spans.append(time.perf_counter() - began)
        seen[int(lines[0].split()[1])] += 1
    writer.close()
    return spans


async def load(given: argparse.Namespace) -> dict:
    parts = urlsplit(given.url)
    host, port = parts.hostname or "127.0.0.1", parts.port or 80
    if host not in LOOPBACK:
        raise SystemExit(f"requests: --url: {given.url}; a service on this machine")
    seen: Counter = Counter()
    memory = [resident(given.url)]
    began = time.perf_counter()

    async def watch() -> None:
        while sum(seen.values()) < given.requests / 10:
            await asyncio.sleep(0.05)
        memory.append(await asyncio.to_thread(resident, given.url))

    tasks = [one(host, port, k, given, seen) for k in range(given.connections)]
    *found, _ = await asyncio.gather(*tasks, watch())
    spent = time.perf_counter() - began
    memory.append(resident(given.url))
    spans = np.concatenate([np.asarray(each) for each in found]) * 1e3
    quantiles = {f"p{q}": float(np.percentile(spans, q)) for q in (50, 95, 99, 99.9)}
    return {
        "requests": len(spans),
        "connections": given.connections,
        "per_second": len(spans) / spent,
        "latency_ms": quantiles,
        "statuses": dict(seen),
        "resident_mb": {
            name: round(each / 1e6, 1)
            for name, each in zip(("begin", "warm", "end"), memory, strict=True)
        },
    }


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--requests", type=int, default=100_000)
    parser.add_argument("--connections", type=int, default=8)
    parser.add_argument("--markets", type=int, default=1, help="of each connection")
    parser.add_argument("--random", action="store_true", help="bodies of noise")
    parser.add_argument("--json", action="store_true")
    given = parser.parse_args()
    told = asyncio.run(load(given))
    if given.json:
        print(json.dumps(told))
    else:
        for name, value in told.items():
            print(f"{name:12} {value}")
    good = {200, 422} if given.random else {200}
    return 0 if set(told["statuses"]) <= good else 1


if __name__ == "__main__":
    sys.exit(main())
