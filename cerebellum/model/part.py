"""How a circuit is cut into parts of equal size, which run beside each other."""

from dataclasses import dataclass

from cerebellum.model.spec import Projection, Spec


@dataclass(frozen=True, kw_only=True)
class Part:
    """Each of the shards of a circuit, or the whole of it where it is not cut.

    A shard holds some beams of every population. All have room for as many cells; where beams do
    not divide, the last shards have room for cells that do not exist.
    """

    spec: Spec
    """of the whole circuit"""
    shards: int | None = None
    """how many there are; None: the circuit is not cut"""

    @property
    def count(self) -> int:
        """Parts that there are."""
        return self.shards or 1

    @property
    def beams(self) -> int:
        """Beams of one part."""
        return -(-self.spec.beams // self.count)

    def size(self, name: str) -> int:
        """Cells of a population in one part."""
        if self.shards is None:
            return self.spec.population(name).size
        return self.beams * self.spec.beam_size(name)

    def sources(self, projection: Projection) -> int:
        """Source cells that a part has lists or rows of: where they cross beams, those of all."""
        size = self.size(projection.source)
        return size * self.count if projection.crosses else size
