"""Learning rules: kernels compared with closed forms, and the published unit protocol."""

from collections.abc import Callable
from functools import partial

import jax
import numpy as np

from cerebellum import plot
from cerebellum.model import anatomy
from cerebellum.model import circuit as circuits
from cerebellum.model.events import AllToAll
from cerebellum.model.neurons import current, relay
from cerebellum.model.plasticity import (
    Rule,
    kernel,
    mossy_fibre_nuclei,
    pair_stdp,
    parallel_fibre_interneuron,
    parallel_fibre_purkinje,
    ring_steps,
)
from cerebellum.model.population import Population
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec
from cerebellum.reproduce.report import Report, Row, close, picture
from cerebellum.sim import drive as drives
from cerebellum.sim.simulate import simulate

SOURCE = (
    "CerebNEST: stdp_connection_sinexp.h, _alpha.h, _cosexp.h, NEST stdp_synapse; unit protocol "
    "of Tests/Learning_Performance_Test.py, 65,600 parallel fibres onto two Purkinje cells"
)

EXACT = 1e-5
"""Tolerance of values that should be equal but for rounding."""

FIBRES, SPIKES_EACH, STEPS = 65_600, 4, 1_001
OLIVE_MS = (
    (8, 98, 298, 308, 318, 498, 598, 698, 798, 997),
    (18, 198, 258, 358, 368, 458, 558, 658, 758, 957),
)
"""Times at which the two olivary cells are driven. Their spikes teach 2 ms later."""
INITIAL_WEIGHT, W_MAX = 0.07, 4.0
A_PLUS, A_MINUS = 1e-3, -1e-2


def sine(s: np.ndarray) -> np.ndarray:
    """Kernel of parallel fibre to Purkinje cell at s = t_pre - (t_teacher - 1 ms)."""
    wave = np.sin(2 * 3.1415 * (s - 150) / 1000) ** 20
    return np.where((s >= -200) & (s < 0), np.exp(-(s - 150) / 1000) * wave / 1.2848, 0.0)


def _rows(label: str, rule: Rule, s: np.ndarray, reference: np.ndarray) -> list[Row]:
    """Rows that compare a rule's kernel at 1 ms with a reference.

    Args:
      s: ms, ascending, every value at which the reference is not zero.
      reference: values of the kernel at `s`.
    """
    ahead, back = ring_steps(rule, 1.0)
    ours = kernel(rule, 1.0).astype(float)
    our_s = 1 - np.arange(-back, ahead)
    full_reference = np.zeros_like(ours)
    full_reference[np.searchsorted(-our_s, -s)] = reference
    difference = np.abs(ours - full_reference).max()
    peak, reference_peak = int(np.argmax(ours)), int(np.argmax(reference))
    window = our_s[np.abs(ours) > 1e-12]
    reference_window = s[np.abs(reference) > 1e-12]
    near = partial(close, published=False)
    return [
        near(f"{label}: peak", "", ours[peak], reference[reference_peak], least=EXACT),
        near(f"{label}: place of the peak", "ms", our_s[peak], s[reference_peak]),
        near(f"{label}: window from", "ms", window.min(), reference_window.min()),
        near(f"{label}: window to", "ms", window.max(), reference_window.max()),
        near(f"{label}: sum", "", ours.sum(), reference.sum(), least=EXACT),
        near(f"{label}: largest difference", "", difference, 0.0, least=EXACT),
    ]


def _kernels() -> list[Row]:
    """Rows that compare every rule's kernel with its closed form."""
    before = -np.arange(200, 0, -1.0)
    near = np.arange(-10.0, 11.0)
    lag = np.arange(-150.0, 150.0)
    pairs = np.sign(lag) * np.exp(-np.abs(lag) / 30)
    return [
        *_rows(
            "PF-PC",
            parallel_fibre_purkinje("t", 1.0, -1.0),
            before,
            sine(before),
        ),
        *_rows(
            "PF-MLI",
            parallel_fibre_interneuron("t", 1.0, -1.0),
            before,
            -np.e * before / 50 * np.exp(before / 50),
        ),
        *_rows(
            "MF-DCN",
            mossy_fibre_nuclei("t", 1.0, -1.0),
            near,
            np.exp(-0.4 * np.abs(near)) * np.cos(near / 1000) ** 2,
        ),
        *_rows("PC-DCN", pair_stdp("t", 1.0), 1 - lag[::-1], pairs[::-1]),
    ]


def _protocol(fired: np.ndarray) -> np.ndarray:
    """Weights after the protocol, [fibres, 2], as the simulator computes them.

    Args:
      fired: times at which each fibre's spikes arrive, ms, int [fibres, spikes].
    """
    rule = parallel_fibre_purkinje("olive_purkinje", A_PLUS, A_MINUS)
    quiet = current.Params(v_th=1e30)
    spec = Spec(
        name="unit protocol",
        populations=(
            Population(name="granule", size=FIBRES, model="relay", params=relay.Params()),
            Population(name="olive", size=2, model="relay", params=relay.Params()),
            Population(name="purkinje", size=2, model="current", params=quiet),
        ),
        projections=(
            Projection(
                source="granule",
                target="purkinje",
                receptor="exc",
                weight=INITIAL_WEIGHT,
                delay=1.0,
                in_degree=FIBRES,
                plastic=True,
                w_max=W_MAX,
                rule=rule,
            ),
            Projection(
                source="olive",
                target="purkinje",
                receptor="exc",
                weight=1.0,
                delay=1.0,
                in_degree=1,
            ),
        ),
    )
    one_each = np.array([[0, 0, 1], [1, 1, 1]])
    circuit = anatomy.build(spec, jax.random.key(0), {"olive_purkinje": one_each})
    assert isinstance(circuit.wiring.fans["granule_purkinje"], AllToAll)
    olive_ms = np.array(OLIVE_MS)
    fibre = np.repeat(np.arange(FIBRES), SPIKES_EACH)
    drive = {
        "granule": drives.SpikeTimes(fibre, fired.ravel().astype(float)),
        "olive": drives.SpikeTimes(np.repeat([0, 1], 10), olive_ms.ravel() + 2.0),
    }
    state = circuits.init(circuit, jax.random.key(1))
    state, _ = simulate(circuit, state, drive, duration_ms=STEPS + 210, progress=False)
    return np.asarray(state.weights["granule_purkinje"])


def _reference_protocol(fired: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights by the published equations, event by event in double precision.

    Args:
      fired: as in `_protocol`.

    Returns:
      Weights [fibres, 2], and whether each was ever clipped at a bound.
    """
    weights = np.full((FIBRES, 2), INITIAL_WEIGHT)
    clipped = np.zeros((FIBRES, 2), bool)
    for cell, times in enumerate(OLIVE_MS):
        teacher_ms = {time + 2 for time in times}
        for now in range(STEPS + 210):
            fires_now = (fired == now).any(axis=1)
            weights[fires_now, cell] += A_PLUS
            if now in teacher_ms:
                weights[:, cell] += A_MINUS * sine(fired - (now - 1.0)).sum(axis=1)
            bounded = np.clip(weights[:, cell], 0, W_MAX)
            clipped[:, cell] |= bounded != weights[:, cell]
            weights[:, cell] = bounded
    return weights, clipped


def kernels(seed: int | None, say: Callable[[str], None]) -> Report:
    """Kernels at 1 ms, and 1,001 ms of the protocol with four spikes a fibre."""
    say("kernels, then 131,200 synapses event by event")
    rng = np.random.default_rng(seed or 0)
    fired = np.sort(np.argsort(rng.random((FIBRES, 250)), axis=1)[:, :SPIKES_EACH] * 4 + 1, axis=1)
    ours, (reference, clipped) = _protocol(fired), _reference_protocol(fired)
    free = ~clipped
    rows = [
        *_kernels(),
        close(
            "unit protocol: largest difference of a weight",
            "nS",
            float(np.abs(ours - reference)[free].max()),
            0.0,
            least=EXACT,
            published=False,
        ),
        close(
            "unit protocol: mean weight",
            "nS",
            ours[free].mean(),
            reference[free].mean(),
            least=EXACT,
            published=False,
        ),
    ]
    return Report(
        rows=rows,
        source=SOURCE,
        seeds=[seed or 0],
        note=f"Synapses that never met a bound: {free.mean():.2%}. The others are cut when their "
        "change is settled, not when it arises. The published fibres' spikes are not public: ours "
        "are drawn. PF: parallel fibre, PC: Purkinje cell, MLI: basket and stellate cell, MF: "
        "mossy fibre, DCN: nuclear cell. Place and window count s = t_pre - (t_teacher - 1 ms).",
        figures={"kernels.png": picture(plot.curves, _curves(), "s (ms)", "k")},
    )


def _curves() -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Kernels by rule: s in ms, and the values."""
    rules = {
        "PF-PC": parallel_fibre_purkinje("t", 1.0, -1.0),
        "PF-MLI": parallel_fibre_interneuron("t", 1.0, -1.0),
        "MF-DCN": mossy_fibre_nuclei("t", 1.0, -1.0),
        "PC-DCN": pair_stdp("t", 1.0),
    }
    curves = {}
    for name, rule in rules.items():
        ahead, back = ring_steps(rule, 1.0)
        curves[name] = 1.0 - np.arange(-back, ahead), kernel(rule, 1.0)
    return curves
