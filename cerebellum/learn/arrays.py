"""Training a circuit of one's own on one's own arrays: X [n, time, features] and labels y [n].

    spikes = arrays.rate(X, key)                       encode
    weights = arrays.kaiming(circuit, key)             first weights
    ran = arrays.run(circuit, weights, {"input": x})   differentiable
    logits = readout(arrays.spike_count(ran.spikes["hidden"]))
    training, loss = training.step(x, y)               one step of an Optax optimiser

This module is `cb.arrays`, and the losses are `cb.losses`. A key is a random key of JAX, or a seed.
The circuit is on the dense path and its spec has a surrogate. The weights that the initialisers of
this module draw have both signs, as in Norse or snnTorch; `jax.tree.map(jnp.abs, weights)` keeps to
Dale's law. `docs/guide/own_data.py` is a whole script.

Dimensions: n samples, B samples of a batch, T steps, F features, N cells, C classes.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import struct
from jax import Array, lax
from jax.core import Tracer

from cerebellum.errors import UsageError
from cerebellum.learn import encode, losses
from cerebellum.model import circuit as circuits
from cerebellum.model import fit, noise
from cerebellum.model.anatomy import stream
from cerebellum.model.circuit import Circuit, Params
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.step import step

# Encoders


def rate(
    values: Any, key: Array | int, *, most_hz: float = 100.0, hold: int = 1, dt: float = 1.0
) -> Array:
    """Rate code: independent random spikes, float32 [n, T hold, F].

    Args:
      values: intensities, 0 to 1, [n, T, F].
      key: random key, or a seed.
      most_hz: rate for an intensity of 1, at most one spike a step.
      hold: number of steps for which each value holds.
      dt: time step, ms.

    Raises:
      UsageError: values have another shape or range, or rate, hold or dt are impossible.
    """
    intensity = _intensities(values, 3)
    if type(hold) is not int or hold < 1:
        raise UsageError(f"hold: {hold!r}; a whole number of steps, at least 1")
    if not 0 < most_hz * dt <= 1e3:
        raise UsageError(f"most_hz: {most_hz:g}; above 0, at most {1e3 / dt:g}, a spike a step")
    held = np.repeat(intensity, hold, axis=1)
    uniform = stream(noise.key_of(key), "rate").random(held.shape, np.float32)
    return encode.poisson(jnp.asarray(uniform), jnp.asarray(held), most_hz, dt)


def latency(values: Any, steps: int, *, least: float = 0.25) -> Array:
    """Latency code: a spike a feature, earlier for larger values, float32 [n, steps, F].

    Args:
      values: intensities, 0 to 1, [n, F].
      steps: number of steps; the spike comes in the first for 1 and in the last near `least`.
      least: values up to this have no spike.

    Raises:
      UsageError: values have another shape or range, or there are no steps.
    """
    intensity = _intensities(values, 2)
    if type(steps) is not int or steps < 2:
        raise UsageError(f"steps: {steps!r}; a whole number, at least 2")
    if not 0 <= least < 1:
        raise UsageError(f"least: {least:g}; at least 0 and under 1")
    return jnp.moveaxis(encode.latency(jnp.asarray(intensity), steps, steps - 1, least), 0, 1)


def fields(values: Any, count: int) -> Array:
    """Population code: intensities of Gaussian receptive fields, float32 [n, T, F count].

    Each feature has `count` fields at equal distances; feed the result to `rate`.

    Raises:
      UsageError: values are not [n, T, F], or not 0 to 1, or there are less than two fields.
    """
    if type(count) is not int or count < 2:
        raise UsageError(f"count: {count!r}; a whole number of fields, at least 2")
    return encode.population(jnp.asarray(_intensities(values, 3)), count)


def _intensities(values: Any, axes: int) -> np.ndarray:
    """Values as float32, or a UsageError that says what is wrong with them."""
    array = _numbers(values, "values", axes)
    low, high = float(np.min(array)), float(np.max(array))
    if not 0 <= low <= high <= 1:
        raise UsageError(f"values: {low:g} to {high:g}; 0 to 1, such as (X - low) / (high - low)")
    return array.astype(np.float32)


AXES = {2: "[n, features]", 3: "[n, time, features]"}


def _numbers(values: Any, name: str, axes: int) -> np.ndarray:
    """An array of finite real numbers with this number of axes, of which none is empty."""
    if isinstance(values, Tracer):
        raise UsageError(f"{name}: traced by JAX; arrays with values, outside of jax.jit")
    array = np.asarray(values)
    if array.dtype.kind not in "biuf":
        raise UsageError(f"{name}: {array.dtype}; real numbers")
    if array.ndim != axes or 0 in array.shape:
        raise UsageError(f"{name}: {list(array.shape)}; {AXES[axes]}, none of them 0")
    if not np.isfinite(array).all():
        raise UsageError(f"{name}: {int((~np.isfinite(array)).sum()):,} not finite; finite numbers")
    return array


# Data


def check(samples: Any, labels: Any, classes: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Samples [n, T, F] and labels int32 [n] as arrays.

    Args:
      samples: X, finite numbers.
      labels: y, whole numbers from 0.
      classes: number of classes C; labels are below it.

    Raises:
      UsageError: shapes, data types or labels are not these.
    """
    x, y = _numbers(samples, "X", 3), np.asarray(labels)
    if y.dtype.kind not in "iu":
        raise UsageError(f"y: {y.dtype}; whole numbers 0 to C - 1, such as y.astype(int)")
    if y.shape != x.shape[:1]:
        raise UsageError(f"y: {list(y.shape)}; [{len(x)}], one label for each of X {list(x.shape)}")
    low, high = int(y.min()), int(y.max())
    if low < 0 or (classes is not None and high >= classes):
        most = "C - 1" if classes is None else classes - 1
        raise UsageError(f"y: labels {low} to {high}; 0 to {most}")
    return x, y.astype(np.int32)


def batches(
    samples: Any, labels: Any, size: int, key: Array | int
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Batches of an epoch in random order: (X [B, T, F], y int32 [B]).

    All have `size` samples, so that one compiled program is enough. Samples that do not fill one
    more batch are left out of this epoch; with another key they are others.

    Raises:
      UsageError: as `check`, or there are fewer samples than a batch has; at the call.
    """
    x, y = check(samples, labels)
    if type(size) is not int or not 1 <= size <= len(x):
        raise UsageError(f"size: {size!r}; a whole number, 1 to the {len(x)} samples")
    order = stream(noise.key_of(key), "batches").permutation(len(x))
    chosen = (order[first : first + size] for first in range(0, len(x) - size + 1, size))
    return ((x[some], y[some]) for some in chosen)


# First weights


def normal(
    circuit: Circuit,
    key: Array | int,
    projections: Sequence[str] | None = None,
    *,
    mean: float = 0.0,
    sd: float = 1.0,
) -> dict[str, Array]:
    """Normal weights in mV (nS for "conductance" cells), by projection, shaped as in the circuit.

    Contacts that the circuit does not have stay zero.

    Args:
      circuit: on the dense path.
      key: random key, or a seed.
      projections: names; None for all.

    Raises:
      UsageError: a projection is unknown, or a number is not finite.
    """
    _finite(mean=mean, sd=sd)
    drawn = {}
    for name, exists in _contacts(circuit, projections).items():
        random = stream(noise.key_of(key), f"first {name}").standard_normal(exists.shape)
        drawn[name] = _weights(exists, mean + sd * random)
    return drawn


def kaiming(
    circuit: Circuit,
    key: Array | int,
    projections: Sequence[str] | None = None,
    *,
    gain: float = 15.0,
) -> dict[str, Array]:
    """As `normal`, with mean 0 and a standard deviation of gain / sqrt(fan-in) (He et al. 2015).

    The fan-in is the mean number of contacts onto a cell. A gain in mV about the distance from rest
    to threshold lets a cell fire when some tenth of its inputs fire together.
    """
    _finite(gain=gain)
    drawn = {}
    for name, exists in _contacts(circuit, projections).items():
        target = next(p.target for p in circuit.spec.projections if p.name == name)
        fan_in = max(1.0, int(exists.sum()) / circuit.spec.population(target).size)
        random = stream(noise.key_of(key), f"first {name}").standard_normal(exists.shape)
        drawn[name] = _weights(exists, gain / np.sqrt(fan_in) * random)
    return drawn


def orthogonal(
    circuit: Circuit,
    key: Array | int,
    projections: Sequence[str] | None = None,
    *,
    gain: float = 15.0,
) -> dict[str, Array]:
    """Orthonormal rows or columns, times `gain` (Saxe et al. 2014); of projections kept as rows.

    Contacts that the circuit does not have stay zero, so an incomplete projection is only nearly
    orthogonal.

    Raises:
      UsageError: as `normal`, or a projection is so sparse that it is kept as lists.
    """
    _finite(gain=gain)
    drawn = {}
    for name, exists in _contacts(circuit, projections).items():
        projection = next(p for p in circuit.spec.projections if p.name == name)
        ends = [circuit.spec.population(p).size for p in (projection.source, projection.target)]
        if list(exists.shape) != ends:
            raise UsageError(f"orthogonal: {name} is a list of contacts; kaiming, or more contacts")
        random = stream(noise.key_of(key), f"first {name}").standard_normal((max(ends), min(ends)))
        q, r = np.linalg.qr(random)
        # With these signs all orthogonal matrices are equally likely.
        q = q * np.sign(np.diag(r))
        drawn[name] = _weights(exists, gain * (q if ends[0] >= ends[1] else q.T))
    return drawn


def _weights(exists: Array, values: np.ndarray) -> Array:
    """Values as weights, 0 where there is no contact."""
    return jnp.where(exists, jnp.asarray(values, jnp.float32), 0)


def _finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, (int, float)) or not np.isfinite(value):
            raise UsageError(f"{name}: {value!r}; a finite number")


def _contacts(circuit: Circuit, projections: Sequence[str] | None) -> dict[str, Array]:
    """Which weights are of contacts that exist, by projection: bool, one for each weight."""
    by_name = {p.name: p for p in circuit.spec.projections}
    if projections is None:
        projections = list(by_name)
    names = [projections] if isinstance(projections, str) else list(projections)
    _check_names(names, list(by_name), "projections", circuit)
    found = {}
    for name in names:
        # As if plastic, so that there is one for each contact even where they share one weight.
        individual = replace(by_name[name], plastic=True)
        weights = circuits.each_weight(circuit.params.weights[name], circuit.wiring, individual)
        found[name] = weights != 0
    return found


def _check_names(names: Sequence[str], known: Sequence[str], where: str, circuit: Circuit) -> None:
    """Raise UsageError if a name is unknown; not all that are known need to be there."""
    fit.check_names([*names, *known], known, where, circuit.spec.name)


# A differentiable run


@struct.dataclass(kw_only=True)
class Run:
    """What a batch of runs did; step k of a run is index k."""

    spikes: dict[str, Array]
    """spikes by recorded population, 0 or 1, [B, T, N]"""
    traces: dict[str, Array]
    """variables by "variable:population", as they are after each step, [B, T, N]"""


def run(
    circuit: Circuit,
    params: Params | Mapping[str, Array],
    inputs: Mapping[str, Any],
    *,
    record: Sequence[str] | None = None,
    traces: Sequence[str] = (),
    key: Array | int | None = None,
) -> Run:
    """Run a circuit from rest for every sample of a batch, within `jax.jit`; gradients pass.

    Args:
      circuit: built with `path="dense"` from a spec with a surrogate.
      params: parameters, or weights by projection that replace some of the circuit's. A contact
        that the circuit does not have stays zero.
      inputs: by population, [B, T, N] or [B, T, 1]: spikes for relays, currents for cells.
      record: populations whose spikes are returned; None for all that have no input.
      traces: variables to return, such as "v:hidden".
      key: random key of what draws noise, or a seed; None for seed 0. The same noise for every
        sample.

    Raises:
      UsageError: the circuit passes no gradients, or names, shapes or data types do not fit.
    """
    spec, wiring = circuit.spec, circuit.wiring
    if wiring.path != "dense":
        raise UsageError(
            f"path: {wiring.path!r}, which has no gradients; cb.build(.., path='dense')"
        )
    if spec.surrogate is None:
        raise UsageError(
            "surrogate: None, so that spikes pass no gradients; a Surrogate in the Spec"
        )
    driven = _inputs(circuit, inputs)
    names = [p.name for p in spec.populations]
    watched = [n for n in names if n not in driven] if record is None else list(record)
    _check_names(watched, names, "record", circuit)
    followed = [_variable(circuit, trace) for trace in traces]
    full = _params(circuit, params)
    key = noise.key_of(0 if key is None else key)
    # Within the gradient, because a state starts from parameters of cells.
    begun = circuits.init(replace(circuit, params=full), key)

    def sample(drive: dict[str, Array]) -> Run:
        def body(state: Any, now: dict[str, Array]):
            state, activity = step(full, wiring, state, now)
            spikes = {name: activity.spikes[name] for name in watched}
            seen = {
                trace: CIRCUIT_MODELS[spec.population(name).model].variables(state.cells[name])[
                    kind
                ]
                for trace, (kind, name) in zip(traces, followed, strict=True)
            }
            return state, Run(spikes=spikes, traces=seen)

        return lax.scan(body, begun, drive)[1]

    return jax.vmap(sample)(driven)


def _inputs(circuit: Circuit, inputs: Mapping[str, Any]) -> dict[str, Array]:
    """The inputs of a batch as float32, checked against the circuit."""
    names = [p.name for p in circuit.spec.populations]
    _check_names(list(inputs), names, "inputs", circuit)
    if not inputs:
        raise UsageError("inputs: none; at least one population, [batch, time, cells]")
    found, first = {}, None
    for name, values in inputs.items():
        array, size = jnp.asarray(values), circuit.spec.population(name).size
        if array.dtype == jnp.uint32 or array.dtype.kind not in "biuf":
            raise UsageError(f"inputs {name!r}: {array.dtype}; spikes or currents as float32")
        if array.ndim != 3 or array.shape[2] not in (1, size) or 0 in array.shape:
            raise UsageError(f"inputs {name!r}: {list(array.shape)}; [batch, time, {size}]")
        first = array.shape[:2] if first is None else first
        if array.shape[:2] != first:
            raise UsageError(
                f"inputs {name!r}: {list(array.shape)}; {first[0]} samples of {first[1]} steps, as "
                "the others"
            )
        found[name] = array.astype(jnp.float32)
    return found


def _variable(circuit: Circuit, trace: str) -> tuple[str, str]:
    """Variable and population of a name such as "v:hidden"."""
    kind, _, name = trace.partition(":")
    population = circuit.spec.population(name)
    model = CIRCUIT_MODELS[population.model]
    known = list(model.variables(model.init(population.typical, (1,))))
    if kind not in known:
        raise UsageError(f"traces {trace!r}: {name} has {', '.join(known) or 'no variables'}")
    return kind, name


def _params(circuit: Circuit, params: Params | Mapping[str, Array]) -> Params:
    """Parameters with the given weights; contacts that do not exist have none."""
    before = circuit.params.weights
    if isinstance(params, Params):
        base, given = params, {n: w for n, w in params.weights.items() if w is not before.get(n)}
    else:
        base, given = circuit.params, dict(params)
    for name, exists in _contacts(circuit, list(given)).items():
        shape = jnp.shape(given[name])
        if shape not in ((), exists.shape):
            raise UsageError(f"params: {name}: {list(shape)}; {list(exists.shape)}")
        given[name] = jnp.where(exists, given[name], 0)
    return replace(base, weights={**base.weights, **given})


# Readouts


def spike_count(spikes: Array, bins: int = 1) -> Array:
    """Number of spikes of each cell in each of some equal bins of time, [B, bins N], of [B, T, N].

    Raises:
      UsageError: the steps cannot be divided into so many equal bins.
    """
    batch, steps, cells = spikes.shape
    if type(bins) is not int or bins < 1 or steps % bins:
        raise UsageError(f"bins: {bins!r}; a whole number that divides {steps} steps")
    return spikes.reshape(batch, bins, -1, cells).sum(axis=2).reshape(batch, -1)


def mean_voltage(trace: Array) -> Array:
    """Mean over time of a trace such as "v:readout", [B, N], of [B, T, N]."""
    return jnp.mean(trace, axis=1)


@struct.dataclass(kw_only=True)
class Linear:
    """A linear readout; call it with values [..., N] for logits [..., C]."""

    weights: Array
    """[N, C]"""
    bias: Array
    """[C]"""

    def __call__(self, values: Array) -> Array:
        return values @ self.weights + self.bias


def linear(cells: int, classes: int, key: Array | int) -> Linear:
    """A readout with normal weights of standard deviation 1 / sqrt(cells), and no bias."""
    random = stream(noise.key_of(key), "readout").standard_normal((cells, classes))
    weights = random / np.sqrt(cells)
    return Linear(weights=jnp.asarray(weights, jnp.float32), bias=jnp.zeros(classes, jnp.float32))


def accuracy(logits: Array, labels: Array | np.ndarray) -> Array:
    """Share of samples whose largest logit is that of their label, scalar."""
    return jnp.mean(jnp.argmax(logits, axis=-1) == labels)


# Training


@struct.dataclass(kw_only=True)
class Training:
    """A model while it is trained; each step returns the next one, as a TrainState of Flax."""

    model: Any
    """what is learned: a pytree of floats, such as (weights, readout)"""
    memory: Any
    """the state of the optimiser"""
    answer: Callable[[Any, Any], Array] = struct.field(pytree_node=False)
    """answer(model, inputs): logits [B, C], or what else the loss takes"""
    loss: Callable[[Array, Array], Array] = struct.field(pytree_node=False)
    """loss(answer, labels), [B]"""
    optimizer: optax.GradientTransformation = struct.field(pytree_node=False)
    """one of Optax"""

    @jax.jit
    def step(self, inputs: Any, labels: Any) -> tuple["Training", Array]:
        """The training after a step down the gradient of a batch, and the batch's mean loss."""

        def mean_loss(model: Any) -> Array:
            return jnp.mean(self.loss(self.answer(model, inputs), labels))

        loss, gradient = jax.value_and_grad(mean_loss)(self.model)
        change, memory = self.optimizer.update(gradient, self.memory, self.model)
        return replace(self, model=optax.apply_updates(self.model, change), memory=memory), loss


def training(
    answer: Callable[[Any, Any], Array],
    model: Any,
    optimizer: optax.GradientTransformation,
    loss: Callable[[Array, Array], Array] = losses.cross_entropy,
) -> Training:
    """A training before its first step.

    Args:
      answer: a function of the model and a batch of inputs, within which is `run`.
      model: what is learned: a pytree of floats, such as (weights, readout).
      optimizer: one of Optax.
      loss: a function of the answer and the labels, such as those of `cb.losses`.

    Raises:
      UsageError: the optimiser is none of Optax, or the answer or the loss is no function.
    """
    for name, function in (("answer", answer), ("loss", loss)):
        if not callable(function):
            raise UsageError(f"{name}: {type(function).__name__}; a function")
    if not isinstance(optimizer, optax.GradientTransformation):
        kind = type(optimizer).__name__
        raise UsageError(f"optimizer: {kind}; one of Optax, such as optax.adam(0.5)")
    return Training(
        model=model, memory=optimizer.init(model), answer=answer, loss=loss, optimizer=optimizer
    )
