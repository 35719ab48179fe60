"""Where the cells of Model B lie, and who therefore contacts whom.

Rules of cerebellar-models 0.7 (`mouse_cerebellar_cortex.yaml`) where they are geometric. Contacts
that it finds by intersecting morphologies are drawn here between cells whose arbours overlap,
arbours being boxes: of axons and dendrites of interneurons as they extend in a reconstruction, of
dendrites under granule cells as the published share of overlapping cells that contact implies.
x is sagittal, y runs along the parallel fibres, z is depth; um.
"""

import numpy as np
from jax import Array

from cerebellum.model.anatomy import stream

EXTENT = (300.0, 200.0)
"""x and y of the circuit"""

DEPTH = {
    "mossy_fiber": (0.0, 130.0),
    "glomerulus": (0.0, 130.0),
    "granule": (0.0, 130.0),
    "golgi": (0.0, 130.0),
    "purkinje": (137.5, 137.5),
    "basket": (145.0, 195.0),
    "stellate": (195.0, 295.0),
}
"""Layers: z from and to."""

ROSETTE = (60.0, 20.0)
"""A glomerulus belongs to a mossy fibre within these x and y."""

DENDRITE = 40.0
"""A granule cell reaches glomeruli this far away."""

GOLGI_DENDRITE = 50.0
"""A Golgi cell is excited by every glomerulus this near."""

GOLGI_AXON = 150.0, 40
"""A Golgi cell inhibits its nearest glomeruli: how far away, and how many at most."""

FAR = 1e9

BOXES = {
    # (source, label, target): target minus source, x from and to, y, z
    ("granule", "ascending", "golgi"): ((-75, 75), (-59, 59), (-FAR, FAR)),
    ("granule", "parallel", "golgi"): ((-75, 75), (-FAR, FAR), (-FAR, FAR)),
    ("granule", "ascending", "purkinje"): ((-88, 88), (-14, 14), (-FAR, FAR)),
    ("granule", "parallel", "purkinje"): ((-88, 88), (-FAR, FAR), (-FAR, FAR)),
    ("granule", "parallel", "basket"): ((-56, 56), (-FAR, FAR), (-FAR, FAR)),
    ("granule", "parallel", "stellate"): ((-33, 33), (-FAR, FAR), (-FAR, FAR)),
    ("golgi", "", "golgi"): ((-170, 240), (-94, 89), (-108, 93)),
    ("basket", "", "basket"): ((-230, 70), (-38, 38), (-43, 43)),
    ("stellate", "", "stellate"): ((-64, 102), (-44, 44), (-80, 80)),
    ("basket", "", "purkinje"): ((-133, 33), (-35, 9), (-FAR, FAR)),
    ("stellate", "", "purkinje"): ((-118, 106), (-45, 8), (-FAR, FAR)),
}
"""Which pairs may have contacts. Of a granule cell, half-widths in x follow from the in-degree of
the parallel fibres and the share of overlapping cells that contact (Golgi .08, Purkinje .1,
basket .08, stellate .08); the width in y from that of the ascending axons (.05)."""

Edges = dict[str, np.ndarray]


def positions(key: Array, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Drawn in each layer: um, [cells, 3] by population, of the circuit built with `key`.

    Cells are spread evenly along each axis (Latin hypercube). In the reconstruction quarters of
    an axis hold 16 to 21 of 71 Golgi cells; with independent draws their number varies twice as
    much, and twice as many granule cells escape inhibition.
    """
    from scipy.stats.qmc import LatinHypercube

    found, rng = {}, stream(key, "positions")
    for name, depth in DEPTH.items():
        low, high = np.array([(0.0, EXTENT[0]), (0.0, EXTENT[1]), depth]).T
        if name in ("mossy_fiber", "glomerulus"):
            place = rng.random((sizes[name], 3))
        else:
            place = LatinHypercube(3, rng=rng).random(sizes[name])
        found[name] = low + (high - low) * place
    return found


def _edges(source: np.ndarray, target: np.ndarray, contacts: np.ndarray | int = 1) -> np.ndarray:
    contacts = np.broadcast_to(contacts, source.shape)
    return np.stack([source, target, contacts], axis=1).astype(np.int64)


def rosettes(fibres: np.ndarray, glomeruli: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The mossy fibre of each glomerulus: any within `ROSETTE`, else the nearest; int [N]."""
    away = np.abs(glomeruli[:, None, :2] - fibres[None, :, :2]) / np.array(ROSETTE)
    worst = away.max(axis=2)
    order = np.where(worst <= 1, rng.random(worst.shape), 1 + worst)
    return np.argmin(order, axis=1)


def dendrites(
    glomeruli: np.ndarray, fibre: np.ndarray, granules: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Four glomeruli of different mossy fibres for each granule cell: int [N, 4].

    Any within `DENDRITE`; where there are not enough, the nearest.
    """
    from scipy.spatial import KDTree

    distance, near = KDTree(glomeruli).query(granules, k=min(256, len(glomeruli)))
    order = np.argsort(
        np.where(distance <= DENDRITE, rng.random(distance.shape), 1 + distance), axis=1
    )
    near = np.take_along_axis(near, order, axis=1)
    chosen = np.full((len(granules), 4), -1)
    taken = np.full((len(granules), 4), -1)
    count = np.zeros(len(granules), int)
    for candidate in near.T:
        fits = np.flatnonzero((count < 4) & (taken != fibre[candidate][:, None]).all(axis=1))
        if not fits.size and (count == 4).all():
            break
        chosen[fits, count[fits]] = candidate[fits]
        taken[fits, count[fits]] = fibre[candidate[fits]]
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
    """Pairs whose target lies in a box about its source, thinned to a mean in-degree.

    Args:
      source, target: positions [cells, 3].
      box: target minus source, from and to, for x, y, z.
      in_degree: mean and standard deviation.
      size: of each target's arbour, standard normal [T]: what of the deviation is not explained
        by the place of a cell is put down to it.
    """
    inside = np.ones((len(source), len(target)), bool)
    for axis, (low, high) in enumerate(box):
        away = target[None, :, axis] - source[:, None, axis]
        inside &= (away >= low) & (away <= high)
    mean, sd = in_degree
    within = inside.sum(axis=0)
    share = mean / max(1, within.mean())
    explained = (share * within.std()) ** 2 + mean * (1 - min(1, share))
    left = np.sqrt(max(0.0, sd**2 - explained)) / mean
    shares = share * np.clip(1 + left * size, 0, None)
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
) -> Edges:
    """Edges by projection: see `anatomy.build`.

    Args:
      key: of the circuit.
      sizes: cells by population.
      in_degrees: mean and standard deviation by projection, (source, label, target).
      contacts: their mean.
      loop: projections of nuclei and olive, which no place decides.
      microzones: parts that those do not leave.
    """
    at, rng = positions(key, sizes), stream(key, "place")
    fibre = rosettes(at["mossy_fiber"], at["glomerulus"], rng)
    reached = dendrites(at["glomerulus"], fibre, at["granule"], rng)
    cells = np.arange(sizes["granule"])
    glomerulus_granule = _edges(reached.ravel(), np.repeat(cells, 4))
    away = np.linalg.norm(at["glomerulus"][:, None] - at["golgi"][None], axis=2)
    glomerulus, golgi = np.nonzero(away <= GOLGI_DENDRITE)
    edges = {
        "mossy_fiber_glomerulus": _edges(fibre, np.arange(fibre.size)),
        "glomerulus_granule": glomerulus_granule,
        "glomerulus_golgi": _edges(glomerulus, golgi),
        "golgi_granule": _inhibited(away, reached),
    }
    arbour = {name: rng.standard_normal(sizes[name]) for name in at}
    for (source, label, target), box in BOXES.items():
        pair = source, label, target
        found = overlapping(at[source], at[target], box, in_degrees[pair], arbour[target], rng)
        name = "_".join(part for part in pair if part)
        edges[name] = _edges(*found, contacts=round(contacts[pair]))
    for source, label, target in loop:
        pair, ends = (source, label, target), (sizes[source], sizes[target])
        found = _within(*ends, in_degrees[pair][0], microzones, rng)
        edges["_".join(part for part in pair if part)] = _edges(*found)
    climbing = round(contacts["inferior_olive", "climbing", "purkinje"])
    return {**edges, **_climbing(edges, sizes, climbing, microzones, rng)}


def microzone(size: int, microzones: int) -> np.ndarray:
    """The microzone of each cell of a population: runs of equal length, int [size]."""
    return np.arange(size) * microzones // size


def _within(
    sources: int, targets: int, in_degree: float, microzones: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of one microzone, each with the same chance, that give the mean in-degree."""
    same = microzone(sources, microzones)[:, None] == microzone(targets, microzones)
    source, target = np.nonzero(same & (rng.random(same.shape) * same.sum(axis=0) < in_degree))
    return source, target


def _inhibited(away: np.ndarray, reached: np.ndarray) -> np.ndarray:
    """Golgi to granule cells, by the glomeruli that they share; a contact each."""
    limit, most = GOLGI_AXON
    nearest = np.argsort(away, axis=0)[:most]
    golgi = np.broadcast_to(np.arange(away.shape[1]), nearest.shape)
    near = np.take_along_axis(away, nearest, axis=0) <= limit
    touches = np.zeros((away.shape[1], away.shape[0]), np.int8)
    touches[golgi[near], nearest[near]] = 1
    shared = touches[:, reached].sum(axis=2)
    source, target = np.nonzero(shared)
    return _edges(source, target, shared[source, target])


def _climbing(
    edges: Edges, sizes: dict[str, int], contacts: int, microzones: int, rng: np.random.Generator
) -> Edges:
    """One afferent to an olivary cell, one olivary cell to a Purkinje cell of its microzone.

    And to the interneurons that inhibit that Purkinje cell.
    """
    cells = np.arange(sizes["inferior_olive"])
    zone = microzone(cells.size, microzones)
    own = microzone(sizes["purkinje"], microzones)
    first, last = (np.searchsorted(zone, own, side) for side in ("left", "right"))
    olive = rng.integers(first, last)
    found = {
        "olivary_afferent_inferior_olive": _edges(cells, cells),
        "inferior_olive_climbing_purkinje": _edges(olive, np.arange(olive.size), contacts),
    }
    for name in ("basket", "stellate"):
        cell, purkinje, _ = edges[f"{name}_purkinje"].T
        pairs = np.unique(np.stack([olive[purkinje], cell], axis=1), axis=0)
        found[f"inferior_olive_{name}"] = _edges(pairs[:, 0], pairs[:, 1])
    return found
