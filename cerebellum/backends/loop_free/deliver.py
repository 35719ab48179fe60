"""All deliveries of a step without a loop, and what is done if a step has too many spikes for it.

Every delivery has a bounded number of slots (`slots.Size`). If the spikes of all deliveries fit,
all are made at once; else none is, and the next larger sizes are tried, and in the end blocks of
slots are visited until no spike is left. Which it is has to be read back by the host, which costs
some 20 us on a GPU; so it is asked once a step, for all deliveries together. The question is asked
by a loop of one trip or none, and not by a conditional, which would copy every array that is
written in it.

What is added to an array depends neither on the sizes nor on the order of additions (`synapses`).
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax.numpy as jnp
from jax import Array, lax

from cerebellum.backends.loop_free.slots import Size
from cerebellum.backends.loop_free.synapses import (
    Carry,
    Sent,
    Visit,
    begin,
    finish,
    has_types,
    visit_all,
)
from cerebellum.model import delivery, events
from cerebellum.model.delivery import Delivery

SIZES = (Size(share=640, synapses=2**19), Size(share=128, synapses=2**21))
"""The sizes that are tried, the smallest first. In a step of 1 ms one cell in 640 is a rate of
1.6 Hz, and one in 128 of 7.8 Hz: so granule cells, whose rows and lists are the longest part of a
step, fit the first size at 1 Hz and the second one at 5. In a beam of 200,000 that is 313 slots for
200 spikes and 1,563 for 1,000, eight and eighteen standard deviations of independent spikes above
their mean. Populations with fewer synapses get more slots, for they fire faster: those that visit
half a million synapses, of which most are of empty slots and touch no memory. In the circuit of
4,000,000 granule cells, where the lists of a mossy fibre have 130 places and those of a Golgi cell
1,800, that is one slot for 50 mossy fibres (20 Hz) and one for 34 Golgi cells (29 Hz); every cell
of all other populations has a slot of its own."""


@dataclass(frozen=True)
class Deliver:
    """The operation `Primitives.deliver`."""

    sizes: tuple[Size, ...] = SIZES
    complete: bool = True
    """Whether spikes that do not fit the last size are delivered. Without, they are dropped: only
    to show that the rest of the program has no loop."""

    def __call__(
        self, deliveries: Sequence[Delivery], arrays: Mapping[str, Array], sweep: events.Sweep
    ) -> dict[str, Array]:
        if not has_types(deliveries, arrays):
            return delivery.deliver(deliveries, arrays, sweep)
        sent = [Sent.of(index, each) for index, each in enumerate(deliveries)]
        if not sent:
            return dict(arrays)
        return finish(sent, self._climb(sent, begin(sent, dict(arrays)), 0))

    def _climb(self, sent: list[Sent], carry: Carry, rung: int) -> Carry:
        """Deliver by the sizes of a rung if all spikes fit, or else by those of the next one."""
        plan = [each.size(self.sizes[rung]) for each in sent]
        fits = jnp.ones((), bool)
        for each, size in zip(sent, plan, strict=True):
            if size < each.spikes.span:
                fits = fits & (each.spikes.most() <= size)

        def once(each: Sent, size: int, visit: Visit, state: Any) -> Any:
            cells, real = each.spikes.slots(size)
            return visit(state, cells, real & fits)

        carry = visit_all(sent, plan, carry, once, blocks=False)
        if all(size >= each.spikes.span for each, size in zip(sent, plan, strict=True)):
            return carry
        if rung + 1 < len(self.sizes):
            return _unless(fits, lambda carry: self._climb(sent, carry, rung + 1), carry)
        if self.complete:
            return _unless(fits, lambda carry: visit_all(sent, plan, carry, _by_block, True), carry)
        return carry


def _by_block(each: Sent, size: int, visit: Visit, state: Any) -> Any:
    """Visit all spikes of a delivery, one block of slots after the other."""
    blocks = -(-each.spikes.most() // size)

    def body(loop: tuple[Array, Any]) -> tuple[Array, Any]:
        block, state = loop
        return block + 1, visit(state, *each.spikes.slots(size, block))

    return lax.while_loop(lambda loop: loop[0] < blocks, body, (jnp.int32(0), state))[1]


def _unless(done: Array, run: Callable[[Any], Any], carry: Any) -> Any:
    """`run(carry)` if not `done`, else `carry`; arrays are updated in place."""

    def body(state: tuple[Array, Any]) -> tuple[Array, Any]:
        return jnp.ones((), bool), run(state[1])

    return lax.while_loop(lambda state: ~state[0], body, (done, carry))[1]
