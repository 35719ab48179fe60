"""How a circuit is divided into parts of equal size, which run side by side."""

from dataclasses import dataclass

from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec


@dataclass(frozen=True, kw_only=True)
class Part:
    """Sizes of one shard of a circuit, or of the whole circuit where it is not divided.

    A shard holds some beams of every population. All shards have room for the same number of
    cells. Where the number of beams is not a multiple of the number of shards, the last shards
    contain padding: room for cells that do not exist.
    """

    spec: Spec
    """spec of the whole circuit"""
    shards: int | None = None
    """number of shards; None if the circuit is not divided"""

    @property
    def count(self) -> int:
        """Number of parts."""
        return self.shards or 1

    @property
    def beams(self) -> int:
        """Number of beams in one part."""
        return -(-self.spec.beams // self.count)

    def size(self, name: str) -> int:
        """Number of cells of a population in one part."""
        if self.shards is None:
            return self.spec.population(name).size
        return self.beams * self.spec.beam_size(name)

    def sources(self, projection: Projection) -> int:
        """Number of source cells for which a part has lists or rows.

        For a projection that crosses beams, these are the source cells of all parts.
        """
        size = self.size(projection.source)
        return size * self.count if projection.crosses else size
