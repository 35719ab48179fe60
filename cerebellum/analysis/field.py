"""A proxy of the local field potential, from synaptic currents of point neurons."""

from collections.abc import Mapping

import numpy as np

from cerebellum.analysis.spikes import check_population, positive
from cerebellum.errors import UsageError, is_number
from cerebellum.io import tables
from cerebellum.sim import record as records
from cerebellum.sim.record import Recording, Trace

ALPHA = 1.65
"""Weight of inhibitory currents (Mazzoni et al. 2015)."""
DELAY_MS = 6.0
"""Delay of excitatory currents, ms (Mazzoni et al. 2015); inhibitory ones have none."""


def lfp_proxy(
    recording: Recording,
    population: str,
    *,
    exc: Mapping[str, float],
    inh: Mapping[str, float],
    alpha: float = ALPHA,
    delay_ms: float = DELAY_MS,
) -> tuple[np.ndarray, np.ndarray]:
    """The reference weighted sum of synaptic currents, a proxy of the time course of an LFP.

        I_exc(t - 6 ms) - 1.65 I_inh(t), less its mean, over its standard deviation

    I is the sum over the recorded cells of g (E - v), positive where it depolarizes (Mazzoni et
    al. 2015, PLoS Computational Biology 11:e1004584). The authors fitted the two numbers to
    multi-compartment models of cortical pyramidal cells, whose excitatory and inhibitory synapses
    lie apart along one axis.

    In the cerebellum it is a proxy that nobody has validated. It says when the synaptic drive of a
    population changes. It says nothing of amplitude, polarity or depth, nor of the currents of
    spikes and dendrites, which are large in recordings near Purkinje cells. Granule cells, round
    and without an axis, make a field by their arrangement, which this sum does not know.

    Args:
      population: whose cells have the traces "v" and of the conductances, of the same cells at the
        same times.
      exc, inh: reversal potentials, mV, by the name of the conductance, such as
        {"g_exc": 0.0} and {"g_inh": -80.0}.
      alpha, delay_ms: the weight and the delay; the delay is rounded to samples.

    Returns:
      Times, ms, float64 [samples], without the first `delay_ms`.
      The proxy, of no unit; NaN if the currents never change.

    Raises:
      UsageError: a trace was not recorded, or traces are of other cells or times.
    """
    records.check(recording)
    check_population(recording, population)
    voltage = _trace(recording, "v", population)
    interval = voltage.every * recording.dt
    if not is_number(delay_ms) or not 0 <= delay_ms < recording.duration_ms:
        raise UsageError(f"delay_ms: {delay_ms!r}; from 0 to {recording.duration_ms:g} ms")
    positive("alpha", alpha, "of no unit")
    v = np.asarray(voltage.values, np.float64)
    delay = round(delay_ms / interval)
    sums = []
    for names in (exc, inh):
        total = np.zeros(len(v))
        for name, reversal in names.items():
            trace = _trace(recording, name, population)
            if trace.every != voltage.every or not np.array_equal(trace.cells, voltage.cells):
                raise UsageError(f"{name}:{population}: other cells or times; those of v")
            total += (trace.values * (reversal - v)).sum(axis=1)
        sums.append(total)
    exciting, inhibiting = sums
    field = exciting[: len(exciting) - delay] - alpha * inhibiting[delay:]
    times = tables.step_ends_ms(recording, voltage.every)[delay:]
    spread = field.std() if len(field) else 0.0
    if not spread > 1e-9 * np.abs(field).max(initial=0.0):
        return times, np.full(len(field), np.nan)
    return times, (field - field.mean()) / spread


def _trace(recording: Recording, variable: str, population: str) -> Trace:
    """A variable of a population."""
    label = f"{variable}:{population}"
    if label not in recording.traces:
        known = ", ".join(recording.traces) or "none"
        raise UsageError(
            f"{label}: not recorded, the traces are {known}; simulate with record=('{label}',)"
        )
    return recording.traces[label]
