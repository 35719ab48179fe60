"""The table of a benchmark of a GPU, from its lines of results."""

from collections.abc import Iterator
from typing import Any

from cerebellum.bench.gpu.cases import Case, bars, unit

HEADINGS = (
    *("case", "granule Hz", "time", "spread", "n", "floor", "ratio", "peak GiB"),
    *("bar", "goal", "verdict"),
)


def text(events: list[dict[str, Any]], cases: list[Case]) -> str:
    """The whole table, with a line for each case that has no figure and the reason."""
    machines = [event for event in events if event["event"] == "machine"]
    tiny = any(event["quick"] for event in machines)
    rows = [HEADINGS, *(_row(case, line, tiny) for case, line in _results(events, cases))]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    out = [line for event in machines for line in _machine(event)]
    for row in rows if len(rows) > 1 else []:
        first = row[0].ljust(widths[0])
        rest = [cell.rjust(w) for cell, w in zip(row[1:], widths[1:], strict=True)]
        out.append("  ".join([first, *rest]).rstrip())
    out += list(_without(events, cases))
    out += _ran(events)
    return "\n".join(out)


def _results(
    events: list[dict[str, Any]], cases: list[Case]
) -> Iterator[tuple[Case, dict[str, Any]]]:
    """Every result with its case, in the order of the cases."""
    for case in cases:
        for event in events:
            if event["event"] == "result" and event["case"] == case.name:
                yield case, event


def _row(case: Case, line: dict[str, Any], tiny: bool) -> tuple[str, ...]:
    """A row of the table; times are in us. Tiny circuits have no bars."""
    rate, us, floor = line.get("rate_hz"), line["us"], line.get("floor_us")
    pair = None if tiny else bars(case.subject, case.learning, case.path, rate)
    peak = line.get("peak_bytes")
    name = case.name if rate is None else f"{case.name} {rate:g} Hz"
    return (
        name,
        "" if rate is None else f"{line['granule_hz']:.2f}",
        f"{us:,.1f} {unit(case.subject)}",
        f"{line['least_us']:,.1f} to {line['most_us']:,.1f}",
        f"{line['n']}",
        "" if floor is None else f"{floor:,.1f}",
        "" if floor is None else f"{us / floor:,.1f}",
        "" if peak is None else f"{peak / 2**30:.2f}",
        *(("", "", "") if pair is None else (f"{pair[0]:g}", f"{pair[1]:g}", _verdict(us, pair))),
    )


def _verdict(us: float, pair: tuple[float, float]) -> str:
    bar, goal = pair
    return "goal" if us <= goal else "bar" if us <= bar else "missed"


def _without(events: list[dict[str, Any]], cases: list[Case]) -> Iterator[str]:
    """A line for each case that ended without a figure, or was never begun."""
    for case in cases:
        of_case = [event for event in events if event.get("case") == case.name]
        why = [f"{e['event']}: {e['why']}" for e in of_case if e["event"] in ("failed", "skipped")]
        if why:
            yield f"{case.name}  {why[-1]}"
        elif not any(event["event"] == "result" for event in of_case):
            yield f"{case.name}  skipped: the budget is spent"


def _machine(event: dict[str, Any]) -> list[str]:
    """What was measured on."""
    versions = " ".join(f"{name} {value}" for name, value in event["versions"].items())
    client = " ".join(event["client"].split())
    speed = event["bandwidth_bytes_s"] * 1e-12
    flags = f"XLA_FLAGS: {event['flags']}"
    return [
        f"{event['device']} ({event['platform']}), {versions}, {client}".rstrip(", "),
        *([flags] if event["flags"] else []),
        f"memory: {speed:.3f} TB/s, read and written; floor: the bytes of a step at that speed",
        "times in us: median (spread: least to most) of n calls; peak: of the process so far",
        "tiny circuits" if event["quick"] else "bar and goal: us on an H200",
        "",
    ]


def _ran(events: list[dict[str, Any]]) -> list[str]:
    """How each case on a path took its steps."""
    ran = {event["case"]: event["ran"] for event in events if event.get("ran")}
    return ["", *(f"{name}: {how}" for name, how in ran.items())] if ran else []
