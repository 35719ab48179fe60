"""Positions of the cells of Model A, and the contacts that follow from them.

These are the rules of the scaffold of Casali et al. 2019, by which the published network was laid
out: distances and numbers are those of its parameters (`scaffold_params.py` and the version-3
`mouse_cerebellum.json`, which came with SpiNNCer). Where versions of the scaffold differ, the
published in-degrees decide: a Golgi cell takes its nearest glomeruli (2.3 Golgi cells to a granule
cell; any of those in reach would be 2.9, published are 2.34), but any of the ascending axons in
reach. x is sagittal, y runs along the parallel fibres, z is height above the bottom of the granular
layer; all in um.
"""

import numpy as np
from jax import Array

from cerebellum.model.streams import stream

EXTENT = (400.0, 400.0)
"""Extent of the circuit in x and y, um."""

DEPTH = {
    "glomerulus": (0.0, 150.0),
    "granule": (0.0, 150.0),
    "golgi": (0.0, 150.0),
    "basket": (180.0, 255.0),
    "stellate": (255.0, 330.0),
}
"""Lower and upper z of the layer of each population, um. Purkinje cells lie between 150 and 180."""

SOMA = {"glomerulus": 1.5, "granule": 2.5, "golgi": 8.0, "basket": 6.0, "stellate": 4.0}
"""Radius of a cell of each population, um; cells lie wholly in their layer."""

PURKINJE_ARBOUR = (130.0, 3.5)
"""Extent of a Purkinje cell's dendrites in x and y, um."""
PURKINJE_RADIUS = 7.5
"""Radius of a Purkinje cell's soma, um."""
PURKINJE_ROW = 3
"""Number of Purkinje cells in a row along x."""

GRANULE_DENDRITE = 40.0, 4
"""A granule cell contacts its nearest glomeruli: the largest distance (um) and the number."""

GOLGI_DENDRITE = 50.0
"""Radius of a Golgi cell's dendrites, um: of the half sphere below it that holds its glomeruli, of
the cylinder of its ascending axons, and of the strip in x of its parallel fibres."""
GOLGI_ASCENDING = 400
"""Largest number of ascending axons onto a Golgi cell; an axon goes to one Golgi cell."""
GOLGI_GRANULES = 1_600
"""Number of granule cells that contact a Golgi cell by their parallel fibres. They include those
whose ascending axons contact it."""
GOLGI_AXON = (150.0, 30.0, 150.0)
"""Extent of a Golgi cell's axon in x, y and z, um."""
GOLGI_GLOMERULI = 40
"""Largest number of glomeruli that a Golgi cell inhibits; a glomerulus has one Golgi cell."""

FIBRE_HEIGHT = 180.0
"""Height of a parallel fibre above its granule cell, um. Its SD of 20 um is left out."""
INTERNEURON_DENDRITE = 15.0
"""A basket or stellate cell is excited by the parallel fibres within this distance, um."""

INHIBITION = {"basket": (100.0, 500.0), "stellate": (500.0, 100.0)}
"""Distances in x and y, um, at which an interneuron's chance to contact a Purkinje cell is 0."""
INHIBITORS = 20
"""Number of cells of each kind that inhibit a Purkinje cell."""
GAP = 150.0, 50.0
"""Distance in the plane of x and z, and in y, at which the chance of a contact between two
interneurons is 0, um."""
GAPS = 4
"""Largest number of contacts that an interneuron makes on others."""

Edges = dict[str, np.ndarray]


def positions(key: Array, sizes: dict[str, int]) -> dict[str, np.ndarray]:
    """Draw the positions of the cells of the cortex: um, [cells, 3] by population.

    Cells fill their layer evenly (a scrambled Halton sequence). In the scaffold a random walk
    places them, at a distance from each other; rates hardly depend on it (docs/reproductions.md).
    Purkinje cells stand in rows.
    """
    from scipy.stats.qmc import Halton

    by_population, rng = {}, stream(key, "positions")
    for name, depth in DEPTH.items():
        low, high = np.array([(0.0, EXTENT[0]), (0.0, EXTENT[1]), depth]).T
        low, high = low + SOMA[name], high - SOMA[name]
        by_population[name] = low + (high - low) * Halton(3, rng=rng).random(sizes[name])
    return {**by_population, "purkinje": _purkinje(sizes["purkinje"], rng)}


def _purkinje(size: int, rng: np.random.Generator) -> np.ndarray:
    """Positions of the Purkinje cells: rows at equal distances in y, each a little further in x."""
    rows = -(-size // PURKINJE_ROW)
    spacing, radius = EXTENT[1] / rows, PURKINJE_RADIUS
    width = PURKINJE_ARBOUR[0]
    start = width / 2 + radius + np.cumsum(rng.uniform(0, 5 * rows / (width / 2 - 1), rows))
    x = start[:, None] + (width - 1) * np.arange(PURKINJE_ROW)
    y = radius + spacing * (np.arange(rows)[:, None] + 0.05 * rng.random((rows, PURKINJE_ROW)))
    z = rng.uniform(150 + radius, 180 - radius, x.shape)
    return np.stack([x, y, z], axis=2).reshape(-1, 3)[:size]


def place(key: Array, sizes: dict[str, int]) -> Edges:
    """Place the cells and draw the edges by projection (see `anatomy.build`).

    Nuclei and olive are not in the result: their contacts do not depend on positions.

    Args:
      key: key of the circuit.
      sizes: number of cells by population.
    """
    cells, rng = positions(key, sizes), stream(key, "place")
    granule_glomeruli = _nearest_glomeruli(cells["glomerulus"], cells["granule"])
    ascending, parallel = _golgi_granules(cells["granule"], cells["golgi"], rng)
    edges = {
        "glomerulus_granule": granule_glomeruli,
        "glomerulus_golgi": _golgi_glomeruli(cells["glomerulus"], cells["golgi"]),
        "golgi_granule": _golgi_granule(cells, granule_glomeruli, rng),
        "golgi_golgi": _golgi_golgi(cells["golgi"]),
        "granule_ascending_golgi": ascending,
        "granule_parallel_golgi": parallel,
        **_purkinje_granules(cells["granule"], cells["purkinje"]),
    }
    for name, reach in INHIBITION.items():
        edges[f"granule_parallel_{name}"] = _crossing_fibres(cells["granule"], cells[name])
        edges[f"{name}_purkinje"] = _inhibitors(cells[name], cells["purkinje"], reach, rng)
        edges[f"{name}_{name}"] = _gaps(cells[name], rng)
    return {
        name: np.insert(np.stack(pair, axis=1).astype(np.int64), 2, 1, axis=1)
        for name, pair in edges.items()
    }


Pairs = tuple[np.ndarray, np.ndarray]
"""The source and the target cell of each contact, integers [pairs] each."""


def _pairs(mask: np.ndarray) -> Pairs:
    """The contacts of a mask, bool [source cells, target cells]."""
    source, target = np.nonzero(mask)
    return source, target


def _nearest_glomeruli(glomeruli: np.ndarray, granules: np.ndarray) -> Pairs:
    """Contacts of each granule cell with its nearest glomeruli."""
    from scipy.spatial import KDTree

    reach, number = GRANULE_DENDRITE
    distance, nearest = map(np.asarray, KDTree(glomeruli).query(granules, k=number))
    granule, dendrite = np.nonzero(distance <= reach)
    return nearest[granule, dendrite], granule


def _golgi_glomeruli(glomeruli: np.ndarray, golgi: np.ndarray) -> Pairs:
    """Contacts of each Golgi cell with the glomeruli of the half sphere below it."""
    offset = glomeruli[:, None] - golgi[None]
    return _pairs((np.linalg.norm(offset, axis=2) <= GOLGI_DENDRITE) & (offset[..., 2] <= 0))


def _golgi_golgi(golgi: np.ndarray) -> Pairs:
    """Contacts between Golgi cells whose axons and dendrites overlap."""
    reach = GOLGI_DENDRITE + np.array(GOLGI_AXON) / 2
    near = (np.abs(golgi[:, None] - golgi[None]) <= reach).all(axis=2)
    return _pairs(near & ~np.eye(len(golgi), dtype=bool))


def _take(
    distance: np.ndarray, most: int, rng: np.random.Generator, *, nearest: bool
) -> np.ndarray:
    """Draw the candidates that a Golgi cell takes, as indices.

    A candidate is accepted with the chance 1 - d, where d is a distance: its own if the nearest are
    taken; otherwise that of its rank, because the scaffold goes through the candidates in random
    order and through their distances in ascending order.

    Args:
      distance: distance of each candidate as a share of a reach, [N].
      most: the largest number of candidates that are taken.
      nearest: whether the nearest of those that are accepted are taken, or any of them.
    """
    ascending = np.argsort(distance)
    accepted = rng.random(distance.size) > distance[ascending]
    candidates = ascending if nearest else rng.permutation(distance.size)
    return candidates[accepted][:most]


def _golgi_granule(
    cells: dict[str, np.ndarray], granule_glomeruli: Pairs, rng: np.random.Generator
) -> Pairs:
    """Contacts of Golgi cells with the granule cells of the glomeruli that they inhibit.

    Golgi cells take their glomeruli one after the other, in random order, from those that are left.
    """
    glomeruli, golgi = cells["glomerulus"], cells["golgi"]
    reach = np.array(GOLGI_AXON) / 2 + SOMA["glomerulus"]
    golgi_of = np.full(len(glomeruli), -1)
    for cell in rng.permutation(len(golgi)):
        offset = glomeruli - golgi[cell]
        free = np.flatnonzero((golgi_of < 0) & (np.abs(offset) <= reach).all(axis=1))
        distance = np.hypot(offset[free, 0], offset[free, 2]) / GOLGI_AXON[0]
        golgi_of[free[_take(distance, GOLGI_GLOMERULI, rng, nearest=True)]] = cell
    glomerulus, granule = granule_glomeruli
    source = golgi_of[glomerulus]
    source, target = np.unique(np.stack([source, granule])[:, source >= 0], axis=1)
    return source, target


def _golgi_granules(
    granules: np.ndarray, golgi: np.ndarray, rng: np.random.Generator
) -> tuple[Pairs, Pairs]:
    """Contacts of ascending axons and of parallel fibres with Golgi cells.

    Golgi cells take their ascending axons one after the other, in random order, from those that are
    left in a cylinder around them. Their parallel fibres are those of the same granule cells, and
    of others at random within a strip.
    """
    free = np.ones(len(granules), bool)
    ascending: list[np.ndarray] = [np.empty(0, int)] * len(golgi)
    parallel: list[np.ndarray] = [np.empty(0, int)] * len(golgi)
    for cell in rng.permutation(len(golgi)):
        offset = granules[:, :2] - golgi[cell, :2]
        strip = np.flatnonzero(np.abs(offset[:, 0]) <= GOLGI_DENDRITE)
        share = np.hypot(*offset[strip].T) / GOLGI_DENDRITE
        near = (share <= 1) & free[strip]
        axons = strip[near][_take(share[near], GOLGI_ASCENDING, rng, nearest=False)]
        free[axons] = False
        others = np.setdiff1d(strip, axons, assume_unique=True)
        number = min(GOLGI_GRANULES - axons.size, others.size)
        fibres = rng.choice(others, number, replace=False)
        ascending[cell], parallel[cell] = axons, np.append(axons, fibres)
    return _joined(ascending), _joined(parallel)


def _joined(sources: list[np.ndarray]) -> Pairs:
    """Contacts from the sources of each target."""
    target = np.repeat(np.arange(len(sources)), [each.size for each in sources])
    return np.concatenate(sources).astype(int), target


def _purkinje_granules(granules: np.ndarray, purkinje: np.ndarray) -> dict[str, Pairs]:
    """Contacts of granule cells with Purkinje cells.

    A parallel fibre contacts every Purkinje cell whose dendrites it crosses, an ascending axon the
    first of those that it passes through.
    """
    offset = np.abs(granules[:, None, :2] - purkinje[None, :, :2])
    crosses = offset[..., 0] <= PURKINJE_ARBOUR[0] / 2
    granule, cell = np.nonzero(crosses & (offset[..., 1] <= PURKINJE_ARBOUR[1] / 2))
    granule, first = np.unique(granule, return_index=True)
    return {
        "granule_ascending_purkinje": (granule, cell[first]),
        "granule_parallel_purkinje": _pairs(crosses),
    }


def _crossing_fibres(granules: np.ndarray, interneurons: np.ndarray) -> Pairs:
    """Contacts of parallel fibres with the interneurons that they pass at a small distance."""
    from scipy.spatial import KDTree

    fibres = granules[:, [0, 2]] + [0.0, FIBRE_HEIGHT]
    near = KDTree(fibres).query_ball_point(interneurons[:, [0, 2]], INTERNEURON_DENDRITE)
    return _joined([np.asarray(each, int) for each in near])


def _inhibitors(
    interneurons: np.ndarray,
    purkinje: np.ndarray,
    reach: tuple[float, float],
    rng: np.random.Generator,
) -> Pairs:
    """Contacts of interneurons with Purkinje cells, which take `INHIBITORS` of those in reach."""
    offset = np.abs(purkinje[:, None, :2] - interneurons[None, :, :2]) / reach
    purkinje_cell, interneuron = _accepted(offset.max(axis=2), INHIBITORS, rng)
    return interneuron, purkinje_cell


def _gaps(interneurons: np.ndarray, rng: np.random.Generator) -> Pairs:
    """Contacts between interneurons of a kind, each of which takes `GAPS` of those in reach."""
    offset = interneurons[:, None] - interneurons[None]
    plane = np.hypot(offset[..., 0], offset[..., 2]) / GAP[0]
    share = np.maximum(plane, np.abs(offset[..., 1]) / GAP[1])
    np.fill_diagonal(share, 1.0)
    return _accepted(share, GAPS, rng)


def _accepted(share: np.ndarray, most: int, rng: np.random.Generator) -> Pairs:
    """Draw partners: each is accepted with the chance 1 - share, and at most some are taken.

    Args:
      share: distance of each pair as a share of the reach, [cells, candidates].
      most: the largest number of partners of a cell; it takes them at random from the accepted.
    """
    order = np.where(rng.random(share.shape) > share, rng.random(share.shape), np.inf)
    rank = order.argsort(axis=1).argsort(axis=1)
    return _pairs((order < np.inf) & (rank < most))
