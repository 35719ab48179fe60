"""The time of a step of a circuit on a backend, at several rates, by one compiled program."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import jax
import numpy as np

from cerebellum import system
from cerebellum.bench.gpu import circuits as built
from cerebellum.bench.gpu.cases import RATES, Case
from cerebellum.bench.network import device_memory, step_bytes
from cerebellum.bench.result import bandwidth
from cerebellum.model import circuit as circuits
from cerebellum.model import events
from cerebellum.model.circuit import Circuit, State
from cerebellum.sim import chunk as chunks
from cerebellum.sim import drive as drives
from cerebellum.sim import program
from cerebellum.sim.chunk import Inputs, advance
from cerebellum.sim.loop import chunk_of

REPEATS = 7
"""Most timed calls at a rate."""
FEWEST = 3
"""Fewest, if they take longer than `SECONDS`."""
SECONDS = 2.0
"""Time after which no further call at a rate is begun, s."""
WARM_UP = 2
"""Calls at a rate before those that are timed; the first settles the circuit at the rate."""


@dataclass(frozen=True)
class Prepared:
    """A compiled program of a case, and what it runs."""

    case: Case
    circuit: Circuit
    lean: Circuit
    """the circuit without what no step depends on, as `simulate` runs it"""
    steps: int
    run: Callable[..., Any]
    """(params, wiring, state, inputs) -> (state, records); the state is donated"""
    compile_s: float
    program_bytes: int
    """arguments, results and temporary arrays of the program, bytes"""
    ran: str
    """how the backend takes many steps"""


def circuit_of(circuit: Circuit, case: Case, quick: bool) -> Circuit:
    """The circuit of a case, from one that was built with learning."""
    if not case.learning:
        circuit = built.without_learning(circuit, case.subject, quick)
    return replace(circuit, backend=case.path)


def first_state(circuit: Circuit) -> State:
    """The state in which every path begins; one program makes it for all of them."""
    return circuits.init(replace(circuit, backend="xla"), 1, spread=True)


def inputs_of(case: Case, circuit: Circuit, rate: float) -> Inputs:
    """The inputs of a chunk at a rate of granule cells, Hz."""
    drive = built.drive_of(case.subject, rate)
    return Inputs(sources=drives.plan(drive, circuit.spec).drawn)


def prepare(whole: Circuit, case: Case, quick: bool) -> Prepared:
    """Compile the program of a case. Its state need not exist.

    Raises:
      UsageError: the backend cannot be used here.
    """
    began = time.perf_counter()
    circuit, steps = circuit_of(whole, case, quick), case.steps(quick)
    chunk, lean = chunk_of(circuit, steps), program.canonical(circuit)
    state = jax.eval_shape(lambda: first_state(circuit))
    inputs = inputs_of(case, circuit, RATES[0])
    compiled = advance.lower(chunk, lean.params, lean.wiring, state, inputs).compile()
    sizes = compiled.memory_analysis()
    return Prepared(
        case=case,
        circuit=circuit,
        lean=lean,
        steps=steps,
        run=compiled,
        compile_s=time.perf_counter() - began,
        program_bytes=0
        if sizes is None
        else sizes.argument_size_in_bytes
        + sizes.output_size_in_bytes
        + sizes.temp_size_in_bytes
        - sizes.alias_size_in_bytes,
        ran=chunks.explain(circuit, (), inputs),
    )


def prepare_all(
    wholes: dict[str, Circuit], cases: list[Case], quick: bool, at_once: bool
) -> dict[Case, Prepared | Exception]:
    """The programs of several cases, compiled side by side if `at_once`; or why there is none."""

    def attempt(case: Case) -> Prepared | Exception:
        try:
            return prepare(wholes[case.subject], case, quick)
        except Exception as error:
            return error

    workers = min(len(cases), len(system.processors())) if at_once else 1
    with ThreadPoolExecutor(max(1, workers)) as pool:
        return dict(zip(cases, pool.map(attempt, cases), strict=True))


def measure(prepared: Prepared, quick: bool) -> Iterator[dict[str, Any]]:
    """The figures of a case at each rate; the state goes on from one rate to the next."""
    case, circuit, lean = prepared.case, prepared.circuit, prepared.lean
    state = first_state(circuit)
    for rate in RATES[:1] if quick else RATES:
        inputs = inputs_of(case, circuit, rate)
        seconds, totals, began = [], {}, time.perf_counter()
        for call in range(WARM_UP + REPEATS):
            if len(seconds) >= FEWEST and time.perf_counter() - began > SECONDS:
                break
            start = time.perf_counter()
            state, (totals, _) = prepared.run(lean.params, lean.wiring, state, inputs)
            jax.block_until_ready((state, totals))
            if call >= WARM_UP:
                seconds.append(time.perf_counter() - start)
        yield figures(prepared, rate, seconds, totals)


def figures(
    prepared: Prepared, rate: float, seconds: list[float], totals: dict[str, Any]
) -> dict[str, Any]:
    """A line of the results.

    Args:
      seconds: of each timed call.
      totals: spikes of all cells in each step of the last call, by population.
    """
    circuit, steps = prepared.circuit, prepared.steps
    spec, span_s = circuit.spec, steps * circuit.spec.dt * 1e-3
    rates = {
        name: float(np.sum(np.asarray(spikes), dtype=np.int64))
        / spec.population(name).size
        / span_s
        for name, spikes in totals.items()
    }
    us = np.asarray(seconds) / steps * 1e6
    moved = step_bytes(circuit, rates) + learning_bytes(circuit, rates)
    floor_us = moved / bandwidth(2**28) * 1e6
    return {
        "rate_hz": rate,
        "granule_hz": rates["granule"],
        "rates_hz": rates,
        "us": float(np.median(us)),
        "least_us": float(us.min()),
        "most_us": float(us.max()),
        "n": len(us),
        "steps": steps,
        "dt_ms": spec.dt,
        "floor_us": floor_us,
        "ratio": float(np.median(us)) / floor_us,
        "compile_s": prepared.compile_s,
        "program_bytes": prepared.program_bytes,
        **device_memory(),
        "ran": prepared.ran,
    }


def learning_bytes(circuit: Circuit, rates: dict[str, float]) -> float:
    """Bytes that learning must read and write in a step: the weights of each cell that fired."""
    spec, total = circuit.spec, 0.0
    for p in spec.projections:
        if p.rule is None:
            continue
        fan = circuit.wiring.fans[p.name]
        rows = isinstance(fan, events.AllToAll)
        width = spec.beam_size(p.target) if rows else fan.targets.shape[1]
        fired = rates[p.source] * spec.population(p.source).size * spec.dt * 1e-3
        total += 2.0 * fired * width * (2 if p.dtype == "uint16" else 4)
    return total
