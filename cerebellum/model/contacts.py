"""The contacts of a projection of which each target draws its sources evenly."""

import numpy as np
from jax import Array

from cerebellum.model import events
from cerebellum.model.projection import Projection
from cerebellum.model.sampling import draw_sources
from cerebellum.model.spec import Spec
from cerebellum.model.streams import stream


def in_degrees(projection: Projection, targets: int, rng: np.random.Generator) -> np.ndarray:
    """Draw the number of sources of each target, int64 [targets].

    The number is binomial if the projection has `sites`, and normal if it has `degree_sd`.
    Otherwise the expected total is distributed evenly: every target gets the mean, rounded down,
    and as many targets as needed get one more.
    """
    if projection.sites is not None:
        return rng.binomial(projection.sites, projection.in_degree / projection.sites, targets)
    if projection.degree_sd:
        degrees = rng.normal(projection.in_degree, projection.degree_sd, targets)
        return np.maximum(0, np.round(degrees)).astype(np.int64)
    total = round(projection.in_degree * targets)
    degrees = np.full(targets, total // targets)
    degrees[rng.permutation(targets)[: total % targets]] += 1
    return degrees


def draw(
    projection: Projection, spec: Spec, key: Array, beam: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Draw all contacts of a projection within a beam: (source cells, target cells), integers each.

    For a projection that crosses beams, these are the contacts within the whole circuit. A pair of
    cells has at most one contact, and no cell contacts itself.
    """
    beams = spec.reach(projection)
    source_offset, sources = _span(spec.population(projection.source).size, beams, beam)
    target_offset, targets = _span(spec.population(projection.target).size, beams, beam)
    loop = projection.source == projection.target
    rng = stream(key, projection.name if beams == 1 else f"{projection.name}.{beam}")
    degrees = np.minimum(in_degrees(projection, targets, rng), sources - loop)
    table = draw_sources(degrees, sources - loop, rng)
    if loop:
        table = table + (table >= np.arange(targets)[:, None])
    width = table.shape[1]
    cells = np.arange(target_offset, target_offset + targets, dtype=np.int32)
    if degrees.min(initial=width) == width:  # no mask over many millions of entries
        chosen, receiving = table.reshape(-1), np.repeat(cells, width)
    else:
        chosen, receiving = table[np.arange(width) < degrees[:, None]], np.repeat(cells, degrees)
    return (chosen + source_offset if source_offset else chosen), receiving


def draw_all(projection: Projection, spec: Spec, key: Array) -> tuple[np.ndarray, np.ndarray]:
    """Draw all contacts of a projection, of one beam after the other (see `draw`)."""
    beams = [draw(projection, spec, key, beam) for beam in range(spec.reach(projection))]
    if len(beams) == 1:  # Not copied, because they may be many millions.
        return beams[0]
    source, target = (np.concatenate(cells) for cells in zip(*beams, strict=True))
    return source, target


def _span(size: int, beams: int, beam: int) -> tuple[int, int]:
    """The first cell and the number of cells of a population of `size` cells in a beam."""
    edges = events.beam_edges(size, beams)
    return int(edges[beam]), int(edges[beam + 1] - edges[beam])
