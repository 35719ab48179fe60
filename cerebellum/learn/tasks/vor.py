"""Gain adaptation of the vestibulo-ocular reflex in the awake mouse circuit (Model B).

The head turns to and fro once a second, or with another frequency (`Movement`). Mossy fibres of two
opponent halves follow its velocity. They drive the nuclei of their own microzone directly, and all
Purkinje cells through the parallel fibres. The difference between the two nuclei turns the eye. The
retinal slip, the difference between the demanded movement and the eye's, drives the climbing fibres
of the microzone that could have reduced it. No part of this protocol is published; SCIENCE explains
it (mean climbing-fibre rate 1 Hz, up to 10 Hz more at full slip; demanded gains 1.5 and 0.5 from
1.0).

The eye follows the nuclei with a time constant of 30 ms. Slip reaches the olive after 100 ms, the
latency of vision. The peak of the plasticity kernel, 100 ms before a climbing-fibre spike,
compensates for it. The three numbers of the rule were chosen on seeds 0 and 1. `adapt` is the whole
experiment with one circuit.

Dimensions: T steps of 1 ms to a cycle of the head.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import struct
from jax import Array

from cerebellum.documented import documented
from cerebellum.errors import UsageError
from cerebellum.model import anatomy, noise, presets
from cerebellum.model import circuit as circuits
from cerebellum.model.circuit import Activity, Circuit, State
from cerebellum.model.delays import GRID
from cerebellum.model.plasticity import parallel_fibre_purkinje
from cerebellum.model.presets.eglif import SIZES
from cerebellum.model.presets.eglif_space import microzone
from cerebellum.model.spec import Spec
from cerebellum.sim import chunk
from cerebellum.sim.chunk import Coupled, Inputs
from cerebellum.sim.drive import Moment

DT = 1.0
"""Time step, ms."""

MOSSY_HZ, MOSSY_SWING_HZ = 20.0, 20.0
"""Mean rate of a mossy fibre, and the amplitude with which it follows the head."""

CLIMBING_HZ, SLIP_HZ = 1.0, 10.0
"""Rate of an afferent of the olive without slip, and its increase by slip as fast as the head."""

SLIP_DELAY = 100
"""Time from slip to the olive, ms."""

EYE_TAU = 30.0
"""Time constant of the eye, ms."""

A_PLUS, A_MINUS, W_MAX = 1.0e-3, -5.0e-3, 0.5
"""Parallel fibre to Purkinje cell: nS a spike, nS a pair, nS."""

SILENCING_PA = -3e4
"""Current into the olive that keeps it from firing."""

ZONES = ("nuclei", "purkinje", "inferior_olive")
"""Populations whose spikes are counted by microzone."""


SLOWEST_HZ, FASTEST_HZ = 0.05, 10.0
"""Frequencies of the head that are allowed."""


@documented
@dataclass(frozen=True, kw_only=True)
class Movement:
    """How the head moves.

    Raises:
      UsageError: the frequency is out of range, or a cycle is not a whole number of steps.
    """

    frequency_hz: float = 1.0
    """cycles a second; a cycle is a whole number of steps of 1 ms"""

    def __post_init__(self):
        hertz = self.frequency_hz
        _check_number(hertz, "frequency_hz", SLOWEST_HZ, FASTEST_HZ)
        if abs(1e3 / hertz - self.cycle_ms) > GRID:
            raise UsageError(
                f"frequency_hz: {hertz:g}; a cycle of a whole number of ms, such as "
                f"{1e3 / self.cycle_ms:.6g} ({self.cycle_ms} ms)"
            )

    @property
    def cycle_ms(self) -> int:
        """Period of the movement, ms."""
        return round(1e3 / self.frequency_hz)


def _check_number(value: Any, name: str, least: float, most: float) -> None:
    """Raise UsageError if a value is not a number in this range."""
    if isinstance(value, bool) or not isinstance(value, (int, float, np.integer, np.floating)):
        raise UsageError(f"{name}: {value!r}; a number, {least:g} to {most:g}")
    if not least <= value <= most:
        raise UsageError(f"{name}: {value:g}; {least:g} to {most:g}")


ONCE_A_SECOND = Movement()


@struct.dataclass(kw_only=True)
class Loop:
    """The state of a circuit and of the eye that it moves."""

    state: State
    eye: Array
    """Eye velocity in units of the head's peak velocity, scalar."""
    slip: Array
    """Ring of the slip that has not yet reached the olive, [SLIP_DELAY]."""


def spec() -> Spec:
    """The awake mouse circuit at 1 ms, with two microzones and plastic parallel-fibre synapses."""
    rule = parallel_fibre_purkinje("inferior_olive_climbing_purkinje", A_PLUS, A_MINUS)
    circuit = presets.mouse_eglif("awake", dt=DT, microzones=2)
    return circuit.with_projection(
        "granule_parallel_purkinje", plastic=True, w_max=W_MAX, rule=rule
    )


def start(circuit: Circuit, key: Array) -> Loop:
    """The initial state, with the eye at rest."""
    state = circuits.init(circuit, key)
    return Loop(state=state, eye=jnp.float32(0), slip=jnp.zeros(SLIP_DELAY, jnp.float32))


def _side(name: str) -> Array:
    """1 for cells of the first microzone, -1 for those of the second, [N]."""
    return jnp.asarray(1 - 2 * microzone(SIZES[name], 2), jnp.float32)


def _fires(rate: Array | float, name: str, now: Moment) -> Array:
    """Independent random spikes of a population at these rates (Hz) in this step, [N]."""
    cells = noise.CellRange(size=SIZES[name]).numbers
    key = noise.fold(noise.named(now.key, f"vor {name}"), now.step)
    return noise.fires(key, jnp.asarray(rate * (DT * 1e-3)), cells).astype(jnp.float32)


@partial(jax.jit, donate_argnames="loop", static_argnames="movement")
def cycle(
    circuit: Circuit,
    loop: Loop,
    demand: Array,
    per_hz: Array,
    teaching: Array,
    current: Array,
    movement: Movement = ONCE_A_SECOND,
) -> tuple[Loop, tuple[dict[str, Array], Array]]:
    """Run one cycle of the head.

    Args:
      circuit: built from `spec`.
      loop: donated.
      demand: demanded gain, at which there is no slip, scalar.
      per_hz: eye velocity for each Hz of difference between the nuclei, scalar.
      teaching: 1, or 0 for a loop without slip and climbing fibres, scalar.
      current: current into the olive, pA, scalar.
      movement: how the head moves.

    Returns:
      The loop, the number of spikes of each microzone in each step [T, 2] by population of
      `ZONES`, and the eye velocity [T].
    """

    task = Task(demand=demand, per_hz=per_hz, teaching=teaching, current=current)
    place = Reflex(step=loop.state.step, eye=loop.eye, slip=loop.slip, task=task)
    steps = round(movement.cycle_ms / DT)
    run_cycle = chunk.of(circuit, steps, environment=Head(movement))
    before = Coupled(state=loop.state, place=place)
    after, outputs = run_cycle(circuit.params, circuit.wiring, before, Inputs())
    return Loop(state=after.state, eye=after.place.eye, slip=after.place.slip), outputs


@struct.dataclass(kw_only=True)
class Task:
    """The conditions of a cycle; see `cycle`."""

    demand: Array
    per_hz: Array
    teaching: Array
    current: Array


@struct.dataclass(kw_only=True)
class Reflex:
    """The state of head and eye; see `Loop` for the fields."""

    step: Array
    eye: Array
    slip: Array
    task: Task


@dataclass(frozen=True)
class Head:
    """The environment: a turning head, an eye moved by the nuclei, slip that drives the olive."""

    movement: Movement = ONCE_A_SECOND

    def velocity(self, step: Array) -> Array:
        """Velocity of the head, in units of its peak velocity."""
        period = self.movement.cycle_ms
        phase = jnp.remainder(step, round(period / DT)).astype(jnp.float32) * (DT / period)
        return jnp.sin(2 * jnp.pi * phase)

    def drive(self, place: Reflex, now: Moment) -> dict[str, Array]:
        delayed_slip = place.slip[jnp.remainder(now.step, SLIP_DELAY)]
        slip = jnp.clip(_side("inferior_olive") * delayed_slip, 0, 1)
        mossy_hz = MOSSY_HZ + MOSSY_SWING_HZ * self.velocity(now.step) * _side("mossy_fiber")
        afferent_hz = place.task.teaching * (CLIMBING_HZ + SLIP_HZ * slip)
        return {
            "mossy_fiber": _fires(mossy_hz, "mossy_fiber", now),
            "olivary_afferent": _fires(afferent_hz, "olivary_afferent", now),
            "inferior_olive": place.task.current,
        }

    def react(
        self, place: Reflex, drive: dict[str, Array], activity: Activity
    ) -> tuple[Reflex, tuple[dict[str, Array], Array]]:
        counts = {}
        for name in ZONES:
            spikes, in_zone_0 = activity.spikes[name], _side(name) > 0
            counts[name] = jnp.stack(
                [jnp.sum(jnp.where(in_zone_0, spikes, 0)), jnp.sum(jnp.where(in_zone_0, 0, spikes))]
            )
        hertz = counts["nuclei"] / _sizes("nuclei") * (1e3 / DT)
        command = place.task.per_hz * (hertz[0] - hertz[1])
        eye = place.eye + (command - place.eye) * (DT / EYE_TAU)
        new_slip = place.task.demand * self.velocity(place.step) - eye
        slip = place.slip.at[jnp.remainder(place.step, SLIP_DELAY)].set(new_slip)
        return replace(place, step=place.step + 1, eye=eye, slip=slip), (counts, eye)


def _sizes(name: str) -> np.ndarray:
    """Number of cells of a population in each microzone, [2]."""
    return np.bincount(microzone(SIZES[name], 2), minlength=2).astype(np.float32)


def fit(velocity: np.ndarray) -> tuple[float, float]:
    """Amplitude and phase of the component at the head's frequency of a velocity [T].

    The phase is in degrees, positive where the velocity is ahead of the head.
    """
    angle = 2 * np.pi * np.arange(velocity.size) / velocity.size
    real, imaginary = 2 * np.mean(velocity * np.sin(angle)), 2 * np.mean(velocity * np.cos(angle))
    return float(np.hypot(real, imaginary)), float(np.degrees(np.arctan2(imaginary, real)))


@documented
@dataclass(frozen=True)
class Course:
    """The results of some cycles, one entry a cycle."""

    gain: np.ndarray
    phase: np.ndarray
    """Phase ahead of the head, degrees."""
    hertz: dict[str, np.ndarray]
    """Mean rate by population of `ZONES`, [cycles, 2]."""


def turn(
    circuit: Circuit,
    loop: Loop,
    cycles: int,
    demand: float,
    per_hz: float,
    *,
    movement: Movement = ONCE_A_SECOND,
    learning: bool | Collection[str] = True,
    teaching: bool = True,
    olive: bool = True,
) -> tuple[Loop, Course]:
    """Run some cycles. Gain and phase are measured on the difference of the nuclei, not on the eye.

    Args:
      demand: demanded gain.
      per_hz: the result of `calibrate`. With 0 the eye does not move, and gains are in Hz.
      movement: how the head moves; a loop keeps to one.
      learning: whether weights change, or the names of the projections and populations that learn.
      teaching: whether the olive's afferents fire.
      olive: whether the olive can fire.

    Raises:
      UsageError: something is to learn that the circuit does not have, or that is not plastic.
    """
    plastic = circuit.params.learning_gain
    chosen = (tuple(plastic) if learning else ()) if isinstance(learning, bool) else learning
    if unknown := sorted(set(chosen) - set(plastic)):
        raise UsageError(f"learning: {', '.join(unknown)}; some of {', '.join(plastic)}")
    factor = {name: jnp.float32(name in chosen) for name in plastic}
    circuit = replace(circuit, params=replace(circuit.params, learning_gain=factor))
    options = demand, per_hz, float(teaching), 0.0 if olive else SILENCING_PA
    gains, phases, rates = [], [], {name: [] for name in ZONES}
    for _ in range(cycles):
        loop, (counts, _) = cycle(circuit, loop, *map(jnp.float32, options), movement=movement)
        hertz = np.asarray(counts["nuclei"]) / _sizes("nuclei") * (1e3 / DT)
        amplitude, phase = fit(hertz[:, 0] - hertz[:, 1])
        gains.append(amplitude * (per_hz or 1.0))
        phases.append(phase)
        for name in ZONES:
            total = np.asarray(counts[name]).sum(axis=0) / _sizes(name)
            rates[name].append(total / (movement.cycle_ms * 1e-3))
    hertz = {name: np.array(rate) for name, rate in rates.items()}
    return loop, Course(np.array(gains), np.array(phases), hertz)


WARM_UP, CALIBRATION = 2, 10
"""Number of cycles before the calibration, and of the calibration."""


def calibrate(
    circuit: Circuit, loop: Loop, movement: Movement = ONCE_A_SECOND
) -> tuple[Loop, float]:
    """The loop after a calibration, and the eye velocity for each Hz of nuclear difference.

    With that velocity the untrained gain is 1.
    """
    options: dict[str, Any] = {"demand": 1.0, "per_hz": 0.0, "learning": False, "teaching": False}
    options["movement"] = movement
    loop, _ = turn(circuit, loop, WARM_UP, **options)
    loop, course = turn(circuit, loop, CALIBRATION, **options)
    return loop, 1 / float(course.gain.mean())


MOST_GAIN = 3.0
"""Largest gain that `adapt` demands: slip beyond the head's own velocity is cut off."""
CYCLES, FIXED_CYCLES = 80, 20
"""Number of cycles with learning, and of those after it without."""


@documented
@dataclass(frozen=True)
class Adaptation:
    """The course of gain and phase while the circuit learns, and afterwards without learning."""

    learned: Course
    fixed: Course


def adapt(
    *,
    frequency_hz: float = 1.0,
    gain: float = 1.5,
    cycles: int = CYCLES,
    fixed_cycles: int = FIXED_CYCLES,
    seed: int = 0,
    olive: bool = True,
) -> Adaptation:
    """The whole experiment with one circuit: build, calibrate to a gain of 1, and adapt.

    Args:
      frequency_hz: of the head, 0.05 to 10; a cycle is a whole number of ms.
      gain: demanded gain, 0 to 3.
      cycles, fixed_cycles: number of cycles with learning, and of those after it without.
      seed: sets wiring and noise.
      olive: whether the olive can fire.

    Raises:
      UsageError: a value is out of its range.
    """
    movement = Movement(frequency_hz=frequency_hz)
    _check_number(gain, "gain", 0, MOST_GAIN)
    for name, value in (("cycles", cycles), ("fixed_cycles", fixed_cycles)):
        if type(value) is not int or value < 1:
            raise UsageError(f"{name}: {value!r}; a whole number, at least 1")
    build_key, run_key = jax.random.split(jax.random.key(seed))
    circuit = anatomy.build(spec(), build_key)
    loop, per_hz = calibrate(circuit, start(circuit, run_key), movement)
    options: dict[str, Any] = {"movement": movement, "olive": olive}
    loop, learned = turn(circuit, loop, cycles, gain, per_hz, **options)
    _, fixed = turn(circuit, loop, fixed_cycles, gain, per_hz, learning=False, **options)
    return Adaptation(learned, fixed)
