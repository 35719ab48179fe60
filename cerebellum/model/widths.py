"""How wide the lists of a projection are: the same for nearly every seed.

A list has room for the largest fan-out. That varies from seed to seed, and a program is compiled
for the shapes of its arrays. So the width is planned from the spec, with so much room that few
seeds need more.
"""

import math

from scipy.special import gammainc

from cerebellum.model.part import Part
from cerebellum.model.projection import Projection

LIST_STEP = 8
"""Widths are multiples of this number."""

EXCEEDED = 1e-3
"""The share of seeds that may need wider lists than planned."""

MOST_ENTRIES = 4 * 2**20
"""Larger lists are only as wide as their largest fan-out: there, memory is worth more than another
compilation."""


def rounded(width: int) -> int:
    """A width that holds so many targets, a multiple of `LIST_STEP`."""
    return max(1, -(-width // LIST_STEP) * LIST_STEP)


def planned(projection: Projection, part: Part, exceeded: float = EXCEEDED) -> int:
    """The width of lists that at most the share `exceeded` of the seeds exceeds.

    The fan-outs are taken to be Poisson numbers, as they are where each target draws its sources
    evenly; other wirings may need more.
    """
    size, beams = part.sources(projection), 1 if projection.crosses else part.beams
    targets = -(-part.size(projection.target) // beams)
    mean = projection.in_degree * targets / -(-size // beams)
    return rounded(min(_poisson_maximum(mean, size, exceeded), targets))


def width(projection: Projection, part: Part) -> int:
    """The expected width of the lists of a projection in a part of a circuit.

    Lists that cross beams are cut to what a part needs; others keep the width of the whole circuit.
    """
    if part.count == 1 or not projection.crosses:
        whole = Part(spec=part.spec)
        room = planned(projection, whole)
        if whole.sources(projection) * room <= MOST_ENTRIES:
            return room
    return planned(projection, part, exceeded=0.5)


def _poisson_maximum(mean: float, draws: int, exceeded: float) -> int:
    """A bound that the largest of `draws` Poisson numbers exceeds in that share of all cases."""
    if mean == 0:
        return 0
    low, high = 0, int(mean + 12 * math.sqrt(mean) + 40)
    while low < high:
        middle = (low + high) // 2
        # The regularised incomplete gamma function is the chance that a number is above `middle`.
        if gammainc(middle + 1, mean) * draws > exceeded:
            low = middle + 1
        else:
            high = middle
    return low
