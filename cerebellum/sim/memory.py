"""How much memory a circuit will take, from its spec alone: nothing is allocated."""

import math

import jax
import numpy as np

from cerebellum.model import events
from cerebellum.model.anatomy import LIST_STEP, Path, has_rows, list_dtype, resolve_path
from cerebellum.model.circuit import depths
from cerebellum.model.neurons import CIRCUIT_MODELS
from cerebellum.model.part import Part
from cerebellum.model.plasticity import Sizes
from cerebellum.model.spec import Population, Projection, Spec

PROGRAM_BYTES = 480 * 2**20
LIST_PROGRAM_BYTES = 23 * 2**20
RULE_PROGRAM_BYTES = 45 * 2**20
"""What the interpreter, JAX and its compiler take on a CPU beside a circuit's arrays: always, for
each projection that has lists, for each that learns. Fitted to runs of 1,000 to 4,000,000 granule
cells with XLA kernels and jax 0.10.1 (`scripts/experiments/scale.py`), which it meets within 10 %;
native kernels need less."""


def arrays(part: Part, path: Path = "auto") -> dict[str, int]:
    """Bytes of a built circuit's arrays and its state, by name; or of one shard's.

    Lists are as wide as their largest fan-out, which is random: the estimate takes what is
    exceeded by about one source cell in the population.
    """
    spec = part.spec
    taken = resolve_path(spec, path)
    found = {}
    for population in spec.populations:
        found[f"cells.{population.name}"] = cells(population, part.size(population.name))
    for name, depth in depths(spec).items():
        size = part.size(name)
        row = 4 * size if taken == "dense" else 4 * -(-size // events.BITS)
        shards = part.count if name in spec.crossing() else 1
        found[f"lines.{name}"] = depth * row * shards
    for projection in spec.projections:
        found |= _projection(projection, part, taken)
    for name, population, _ in spec.watched():
        found[f"watches.{name}"] = 8 * part.size(population)
    return found


def cells(population: Population, size: int) -> int:
    """Bytes of the state of so many cells of a population."""
    model, params = CIRCUIT_MODELS[population.model], population.params
    state = jax.eval_shape(lambda: model.init(params, (size,)))
    return sum(_bytes(leaf) for leaf in jax.tree.leaves(state))


def _bytes(leaf) -> int:
    return math.prod(leaf.shape) * np.dtype(leaf.dtype).itemsize


def _projection(projection: Projection, part: Part, path: events.Path) -> dict[str, int]:
    """Bytes of one projection's wiring, weights and debts."""
    spec, name, size = part.spec, projection.name, part.sources(projection)
    found = {}
    width = spec.beam_size(projection.target)
    if has_rows(projection, spec, path):
        fixed = projection.dtype == "uint16"
        copies = 1 if fixed else 1 + projection.plastic
        found[f"weights.{name}"] = size * width * (2 if fixed else 4) * copies
    else:
        places = size * list_width(projection, part)
        targets = part.size(projection.target)
        found[f"wiring.{name}"] = places * np.dtype(list_dtype(targets)).itemsize
        own = projection.plastic or projection.spread > 0
        found[f"weights.{name}"] = 4 * places * (1 + projection.plastic) if own else 4
    rule = projection.rule
    if rule is not None:
        has_lists = not has_rows(projection, spec, path)
        sizes = Sizes(
            sources=part.size(projection.source),
            targets=part.size(projection.target),
            row=part.beams * width,
            weights=(size, list_width(projection, part) if has_lists else width),
        )
        state = jax.eval_shape(lambda: rule.begin(sizes, spec.dt))
        found[f"debts.{name}"] = sum(_bytes(leaf) for leaf in jax.tree.leaves(state))
    if projection.short_term is not None:
        found[f"terminals.{name}"] = 8 * size
    return found


def list_width(projection: Projection, part: Part) -> int:
    """Expected largest fan-out of a projection, rounded as its list is."""
    size, beams = part.sources(projection), 1 if projection.crosses else part.beams
    targets = -(-part.size(projection.target) // beams)
    mean = projection.in_degree * targets / -(-size // beams)
    most = _poisson_maximum(mean, size)
    return max(1, -(-min(most, targets) // LIST_STEP) * LIST_STEP)


def _poisson_maximum(mean: float, draws: int) -> int:
    """What the largest of many Poisson numbers is exceeded by once in about two tries."""
    if mean == 0:
        return 0
    k, log_p = 0, -mean
    tail = 1 - math.exp(log_p)
    while tail * draws > 0.5 and k < mean + 12 * math.sqrt(mean) + 40:
        k += 1
        log_p += math.log(mean / k)
        tail -= math.exp(log_p)
    return k


def peak(spec: Spec, path: Path = "auto") -> int:
    """Bytes that building and running a circuit takes at most on a CPU, the program included.

    A list is there twice while it is handed over, once in NumPy.
    """
    found = arrays(Part(spec=spec), path)
    wiring = [size for name, size in found.items() if name.startswith("wiring.")]
    rules = sum(projection.rule is not None for projection in spec.projections)
    program = PROGRAM_BYTES + len(wiring) * LIST_PROGRAM_BYTES + rules * RULE_PROGRAM_BYTES
    return sum(found.values()) + max(wiring, default=0) + program
