"""Positions of the cells of Model B, and the contacts that follow from them.

The geometric rules are those of cerebellar-models 0.7 (`mouse_cerebellar_cortex.yaml`). Where it
intersects morphologies to find contacts, contacts are drawn here between cells whose arbours
overlap, and an arbour is a box. The boxes follow from the degrees of the cells of a reconstruction.
x is sagittal, y runs along the parallel fibres, z is height above the bottom of the granular layer;
all in um.
"""

from collections.abc import Callable
from typing import Any

import numpy as np
from jax import Array

from cerebellum.model.streams import stream

COUPLED = 0.5
"""Chance that two olivary cells of a microzone have a gap junction; chosen, no count is published
for this circuit."""

EXTENT = (300.0, 200.0)
"""Extent of the circuit in x and y, um."""

DEPTH = {
    "mossy_fiber": (0.0, 130.0),
    "glomerulus": (0.0, 130.0),
    "granule": (0.0, 130.0),
    "golgi": (0.0, 130.0),
    "purkinje": (137.5, 137.5),
    "basket": (145.0, 195.0),
    "stellate": (195.0, 295.0),
}
"""Lower and upper z of the layer of each population, um."""

ROSETTE = (60.0, 20.0)
"""Largest distance in x and y of a glomerulus from its mossy fibre, um."""

NEARNESS = 2.0
"""Rate of the truncated exponential distribution by which a glomerulus prefers near fibres."""

DENDRITE = 40.0
"""Largest distance of a glomerulus from a granule cell that it contacts, um."""

GOLGI_DENDRITE = 50.0
"""A Golgi cell is excited by every glomerulus within this distance, um."""

GOLGI_AXON = 150.0, 40
"""A Golgi cell inhibits its nearest glomeruli: the largest distance (um) and the largest number."""

FAR = 1e9
"""A distance larger than the circuit: no limit along an axis."""

BOXES = {
    # (source, label, target): target minus source, x from and to, y, z
    ("granule", "ascending", "golgi"): ((-82, 109), (-49, 62), (-63, FAR)),
    ("granule", "parallel", "golgi"): ((-88, 118), (-FAR, FAR), (-54, FAR)),
    ("granule", "ascending", "purkinje"): ((-111, 62), (-10, 33), (-FAR, FAR)),
    ("granule", "parallel", "purkinje"): ((-113, 74), (-FAR, FAR), (-FAR, FAR)),
    ("granule", "parallel", "basket"): ((-64, 63), (-FAR, FAR), (-FAR, 178)),
    ("granule", "parallel", "stellate"): ((-49, 61), (-FAR, FAR), (84, 209)),
    ("golgi", "", "golgi"): ((-158, 296), (-96, 83), (-122, 77)),
    ("basket", "", "basket"): ((-230, 70), (-38, 38), (-43, 43)),
    ("stellate", "", "stellate"): ((-56, 96), (-42, 38), (-64, 90)),
    ("basket", "", "purkinje"): ((-133, 33), (-35, 9), (-FAR, FAR)),
    ("stellate", "", "purkinje"): ((-118, 106), (-45, 8), (-FAR, FAR)),
}
"""Boxes that contain the pairs that may have contacts. Their limits are those with which the number
of pairs in the box comes closest to the in- and out-degree of each cell of a reconstruction.

Height (z) matters. Every granule cell's parallel fibre runs 143 um above it, so that the fibres lie
at heights of 143 to 273 um. A stellate cell near the surface (295 um) reaches only the upper third
of them and has 0.4 times the parallel fibres of one at the bottom of its layer; Golgi cells near
the top of theirs have 1.7 times those of the lowest. The upper granule cells are therefore the most
inhibited, and stellate cells, which hear more of them, fire less than if height did not matter."""

Edges = dict[str, np.ndarray]


def positions(key: Array, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Draw the positions of all cells of the circuit with this key: um, [cells, 3] by population.

    Cells are spread evenly along each axis of their layer (Latin hypercube). In the reconstruction,
    a quarter of an axis contains 16 to 21 of 71 Golgi cells. With independent draws the number
    varies twice as much, and twice as many granule cells escape inhibition.
    """
    from scipy.stats.qmc import LatinHypercube

    by_population, rng = {}, stream(key, "positions")
    for name, depth in DEPTH.items():
        low, high = np.array([(0.0, EXTENT[0]), (0.0, EXTENT[1]), depth]).T
        if name in ("mossy_fiber", "glomerulus"):
            unit_positions = rng.random((sizes[name], 3))
        else:
            unit_positions = LatinHypercube(3, rng=rng).random(sizes[name])
        by_population[name] = low + (high - low) * unit_positions
    return by_population


def _edges(source: np.ndarray, target: np.ndarray, contacts: np.ndarray | int = 1) -> np.ndarray:
    """Edges as `anatomy.build` takes them: source, target and number of contacts, [pairs, 3]."""
    contacts = np.broadcast_to(contacts, source.shape)
    return np.stack([source, target, contacts], axis=1).astype(np.int64)


def rosettes(fibres: np.ndarray, glomeruli: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Draw the mossy fibre of each glomerulus, int [N]: one within `ROSETTE`, else the nearest.

    The fibres within `ROSETTE` are ranked by their distance, and near ones are preferred: the rank,
    as a share of their number, has a truncated exponential distribution with the rate `NEARNESS`.
    """
    offset = np.abs(glomeruli[:, None] - fibres[None])
    outside = (offset[..., :2] / np.array(ROSETTE)).max(axis=2)
    within = outside <= 1
    order = np.where(within, np.linalg.norm(offset, axis=2), FAR + outside)
    uniform, end = rng.random(len(glomeruli)), np.exp(-NEARNESS)
    share = -np.log1p(-uniform * (1 - end)) / NEARNESS
    rank = (share * within.sum(axis=1)).astype(int)
    by_distance = np.argsort(order, axis=1)
    return np.take_along_axis(by_distance, rank[:, None], axis=1)[:, 0]


def dendrites(
    glomeruli: np.ndarray, fibre: np.ndarray, granules: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Draw four glomeruli of different mossy fibres for each granule cell: int [N, 4].

    The fibres are drawn first, all those that have a glomerulus within `DENDRITE` with the same
    probability, and then one of the glomeruli there of each fibre. A glomerulus that is alone with
    its fibre in a neighbourhood therefore contacts many more granule cells than one of a cluster.
    If there are not enough fibres, the nearest glomeruli of others follow.
    """
    from scipy.spatial import KDTree

    distance, near = KDTree(glomeruli).query(granules, k=min(256, len(glomeruli)))
    of_fibre = rng.random((len(granules), fibre.max() + 1))
    # The order of fibres decides, and within a fibre a second draw.
    drawn = np.take_along_axis(of_fibre, fibre[near], axis=1) + 1e-6 * rng.random(near.shape)
    order = np.argsort(np.where(distance <= DENDRITE, drawn, 2 + distance), axis=1)
    near = np.take_along_axis(near, order, axis=1)
    chosen = np.full((len(granules), 4), -1)
    chosen_fibres = np.full((len(granules), 4), -1)
    count = np.zeros(len(granules), int)
    for candidate in near.T:
        differs = (chosen_fibres != fibre[candidate][:, None]).all(axis=1)
        fits = np.flatnonzero((count < 4) & differs)
        if not fits.size and (count == 4).all():
            break
        chosen[fits, count[fits]] = candidate[fits]
        chosen_fibres[fits, count[fits]] = fibre[candidate[fits]]
        count[fits] += 1
    return chosen


def overlapping(
    source: np.ndarray,
    target: np.ndarray,
    box,
    in_degree: tuple[float, float],
    size: np.ndarray,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs whose target lies in a box around its source, with a mean in-degree.

    Args:
      source, target: positions [cells, 3].
      box: limits of target minus source, for x, y and z.
      in_degree: mean and standard deviation.
      size: size of the arbour of each target, standard normal [T]. It accounts for that part of the
        standard deviation which the positions of the cells do not explain.

    Returns:
      The source and the target of each pair.
    """
    inside = np.ones((len(source), len(target)), bool)
    for axis, (low, high) in enumerate(box):
        offset = target[None, :, axis] - source[:, None, axis]
        inside &= (offset >= low) & (offset <= high)
    mean, sd = in_degree
    candidates = inside.sum(axis=0)
    share = mean / max(1, candidates.mean())
    explained = (share * candidates.std()) ** 2 + mean * (1 - min(1, share))
    unexplained = np.sqrt(max(0.0, sd**2 - explained)) / mean
    shares = share * np.clip(1 + unexplained * size, 0, None)
    inside &= rng.random(inside.shape, np.float32) < shares
    pre, post = np.nonzero(inside)
    return pre, post


def place(
    key: Array,
    sizes: dict[str, int],
    in_degrees: dict[tuple[str, str, str], tuple[float, float]],
    contacts: dict[tuple[str, str, str], float],
    loop: tuple[tuple[str, str, str], ...],
    microzones: int,
    coupled: tuple[str, ...] = (),
    climbing: tuple[str, ...] = (),
    altered: Callable[..., dict[str, Any]] | None = None,
) -> dict[str, Any]:
    """Place the cells and draw the edges by projection (see `anatomy.build`).

    Args:
      key: key of the circuit.
      sizes: number of cells by population.
      in_degrees: mean and standard deviation by projection, (source, label, target).
      contacts: mean number of contacts of a pair, by projection.
      loop: projections of nuclei and olive, which do not depend on positions.
      microzones: number of microzones, which those projections do not leave.
      coupled: populations with gap junctions, which do not leave a microzone either.
      climbing: names of other projections whose pairs are those of the climbing fibres.
      altered: a function of the key, the positions and all edges that returns other edges.
    """
    cells, rng = positions(key, sizes), stream(key, "place")
    fibre = rosettes(cells["mossy_fiber"], cells["glomerulus"], rng)
    glomeruli = dendrites(cells["glomerulus"], fibre, cells["granule"], rng)
    granules = np.arange(sizes["granule"])
    glomerulus_granule = _edges(glomeruli.ravel(), np.repeat(granules, 4))
    distance = np.linalg.norm(cells["glomerulus"][:, None] - cells["golgi"][None], axis=2)
    glomerulus, golgi = np.nonzero(distance <= GOLGI_DENDRITE)
    edges = {
        "mossy_fiber_glomerulus": _edges(fibre, np.arange(fibre.size)),
        "glomerulus_granule": glomerulus_granule,
        "glomerulus_golgi": _edges(glomerulus, golgi),
        "golgi_granule": _golgi_granule(distance, glomeruli),
    }
    arbour = {name: rng.standard_normal(sizes[name]) for name in cells}
    for names, box in BOXES.items():
        source, _, target = names
        ends = cells[source], cells[target]
        pairs = overlapping(*ends, box, in_degrees[names], arbour[target], rng)
        edges["_".join(filter(None, names))] = _edges(*pairs, contacts=round(contacts[names]))
    for names in loop:
        source, _, target = names
        ends = sizes[source], sizes[target]
        pairs = _pairs_within_microzones(*ends, in_degrees[names][0], microzones, rng)
        edges["_".join(filter(None, names))] = _edges(*pairs)
    count = round(contacts["inferior_olive", "climbing", "purkinje"])
    edges |= _climbing(edges, sizes, count, microzones, rng)
    for name in climbing:
        source, target, _ = edges["inferior_olive_climbing_purkinje"].T
        edges[name] = _edges(source, target)
    for name in coupled:
        edges[name] = _coupled_pairs(sizes[name], microzones, stream(key, f"coupled {name}"))
    return altered(key, cells, edges) if altered else edges


def _coupled_pairs(size: int, microzones: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the pairs of cells that have a gap junction, within microzones, each pair once."""
    zone = microzone(size, microzones)
    possible = np.triu(zone[:, None] == zone, k=1)
    return _edges(*np.nonzero(possible & (rng.random(possible.shape) < COUPLED)))


def microzone(size: int, microzones: int) -> np.ndarray:
    """The microzone of each cell of a population, int [size]; microzones are equal ranges."""
    return np.arange(size) * microzones // size


def _pairs_within_microzones(
    sources: int, targets: int, in_degree: float, microzones: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Draw pairs within microzones, all with the same probability, with a mean in-degree."""
    same = microzone(sources, microzones)[:, None] == microzone(targets, microzones)
    source, target = np.nonzero(same & (rng.random(same.shape) * same.sum(axis=0) < in_degree))
    return source, target


def _golgi_granule(distance: np.ndarray, glomeruli: np.ndarray) -> np.ndarray:
    """Edges from Golgi to granule cells, with one contact for each glomerulus that they share.

    Args:
      distance: distance of each glomerulus from each Golgi cell, um, [glomeruli, Golgi cells].
      glomeruli: the four glomeruli of each granule cell, int [N, 4].
    """
    limit, count = GOLGI_AXON
    nearest = np.argsort(distance, axis=0)[:count]
    golgi = np.broadcast_to(np.arange(distance.shape[1]), nearest.shape)
    near = np.take_along_axis(distance, nearest, axis=0) <= limit
    inhibits = np.zeros((distance.shape[1], distance.shape[0]), np.int8)
    inhibits[golgi[near], nearest[near]] = 1
    shared = inhibits[:, glomeruli].sum(axis=2)
    source, target = np.nonzero(shared)
    return _edges(source, target, shared[source, target])


def _climbing(
    edges: Edges, sizes: dict[str, int], contacts: int, microzones: int, rng: np.random.Generator
) -> Edges:
    """Draw the edges of the olive.

    Each olivary cell has one afferent. Each Purkinje cell receives one olivary cell of its
    microzone, which also contacts the interneurons that inhibit the Purkinje cell.
    """
    cells = np.arange(sizes["inferior_olive"])
    olive_zone = microzone(cells.size, microzones)
    purkinje_zone = microzone(sizes["purkinje"], microzones)
    start, stop = (np.searchsorted(olive_zone, purkinje_zone, side) for side in ("left", "right"))
    olive = rng.integers(start, stop)
    climbing = {
        "olivary_afferent_inferior_olive": _edges(cells, cells),
        "inferior_olive_climbing_purkinje": _edges(olive, np.arange(olive.size), contacts),
    }
    for name in ("basket", "stellate"):
        cell, purkinje, _ = edges[f"{name}_purkinje"].T
        pairs = np.unique(np.stack([olive[purkinje], cell], axis=1), axis=0)
        climbing[f"inferior_olive_{name}"] = _edges(pairs[:, 0], pairs[:, 1])
    return climbing
