"""wrk against a service of this machine: requests a second and quantiles, a table row each.

    python scripts/soak/load.py [--url http://127.0.0.1:8080] [--seconds 10] [--connections 1 8 64]

Every connection sends ticks of sixteen markets. wrk is Debian's.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import urlsplit

LUA = """
local n = 0
local base = os.time() * 1000
local shape = '{"market_id":"m%d","price":%.4f,"volume":1.5,"timestamp":%d}'
function request()
  n = n + 1
  local body = string.format(shape, n % 16, 100 + math.random(), base)
  return wrk.format("POST", "/neural/process", nil, body)
end
function done(summary, latency)
  local row = { string.format("%.0f", summary.requests / summary.duration * 1e6) }
  for _, q in ipairs({ 50, 95, 99, 99.9 }) do
    row[#row + 1] = string.format("%.1f", latency:percentile(q) / 1000)
  end
  local e = summary.errors
  row[#row + 1] = e.status + e.connect + e.read + e.write + e.timeout
  io.write("row | " .. table.concat(row, " | ") .. " |\\n")
end
"""


def main() -> int:
    form = argparse.RawTextHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--url", default="http://127.0.0.1:8080")
    parser.add_argument("--seconds", type=int, default=10)
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 8, 64])
    given = parser.parse_args()
    if urlsplit(given.url).hostname not in ("127.0.0.1", "localhost", "::1"):
        raise SystemExit(f"load: --url: {given.url}; a service on this machine")
    print("| connections | requests/s | p50 ms | p95 ms | p99 ms | p99.9 ms | errors |")
    print("|---|---|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "load.lua"
        script.write_text(LUA)
        for count in given.connections:
            told = subprocess.run(
                [
                    "wrk",
                    "-t1",
                    f"-c{count}",
                    f"-d{given.seconds}s",
                    "-s",
                    str(script),
                    given.url,
                ],
                capture_output=True,
                text=True,
                check=True,
            )
            row = next(line for line in told.stdout.splitlines() if line.startswith("row"))
            print(f"| {count} {row[4:]}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
