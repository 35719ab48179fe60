"""What a step delivers: it is collected from the spec, the delay lines and the present spikes."""

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model import delays, events, short_term
from cerebellum.model.circuit import Params, State, Wiring, each_weight, ring_of
from cerebellum.model.delivery import Delivery
from cerebellum.model.projection import Projection
from cerebellum.model.spec import Spec, bundles


def deliveries(
    params: Params,
    wiring: Wiring,
    state: State,
    terminals: dict[str, short_term.Terminals],
    emitted: dict[str, Array],
) -> list[Delivery]:
    """The deliveries of a step: of spikes whose delay has passed, then into rings of arrivals.

    None goes into a ring where the state remembers what was sent (`State.sent`).

    Args:
      terminals: those of all projections, in which the used ones are replaced.
      emitted: the spikes of this step, packed on the event path.
    """
    delivery = partial(_delivery, params, wiring, state, terminals)
    collected = []
    for bundle in bundles(wiring.spec):
        projections = [p for p in bundle.projections if not _own_delays(wiring, p)]
        if projections:
            spikes = delays.due(state.delay_lines[bundle.source], state.step, bundle.delay)
            fans = [wiring.fans[p.name] for p in projections]
            ends = [f"{p.target}.{p.receptor}" for p in projections]
            scaling = [p.name if p.scaling is not None else None for p in projections]
            scales = [None if name is None else state.homeostasis[name].value for name in scaling]
            collected.append(delivery(spikes, projections, fans, scales, ends))
    for projections in ring_bundles(wiring) if state.sent is None else []:
        fans: list[events.Fan] = [
            fan.into_ring(state.step, state.arrivals[ring_of(p)].shape[0])
            for p in projections
            if isinstance(fan := wiring.fans[p.name], events.FanOut)
        ]
        ends = [f"ring {ring_of(p)}" for p in projections]
        scales = [None] * len(projections)
        collected.append(delivery(emitted[projections[0].source], projections, fans, scales, ends))
    return collected


def _delivery(
    params: Params,
    wiring: Wiring,
    state: State,
    terminals: dict[str, short_term.Terminals],
    spikes: Array,
    projections: Sequence[Projection],
    fans: list[events.Fan],
    scales: Sequence[Array | None],
    ends: Sequence[str],
) -> Delivery:
    """The delivery of the spikes of one population through some of its projections.

    Args:
      terminals: those of all projections, in which the used ones are replaced.
      spikes: packed on the event path, otherwise one number a cell.
      fans, scales, ends: of each projection.
    """
    gains: list[Array | None] = []
    for p in projections:
        gain = None
        if p.short_term is not None:
            fired = spikes
            if wiring.path == "event":
                fired = events.unpack(spikes, wiring.part.size(p.source))
            terminals[p.name], gain = short_term.use(
                terminals[p.name], fired, p.short_term, wiring.spec.dt
            )
        gains.append(gain)
    weights = tuple(
        state.weights[p.name]
        if p.name in state.weights
        else each_weight(params.weights[p.name], wiring, p)
        for p in projections
    )
    return Delivery(
        words=spikes,
        fans=tuple(fans),
        weights=without_gradient(weights) if wiring.path == "event" else weights,
        gains=tuple(gains),
        scales=tuple(scales),
        ends=tuple(ends),
    )


def teaching(
    params: Params, wiring: Wiring, state: State
) -> tuple[list[Delivery], dict[str, Array]]:
    """The deliveries that count the spikes of each teaching projection, and zeros to count from."""
    spec = wiring.spec
    by_name = {projection.name: projection for projection in spec.projections}
    collected, zeros = [], {}
    for projection in spec.projections:
        for name in () if projection.rule is None else projection.rule.teachers:
            end = f"teacher {name}"
            if name == projection.target or end in zeros:
                continue
            teacher, fan = by_name[name], wiring.fans[name]
            steps = delays.steps_of(teacher, spec.dt)
            unit_weight = jnp.float32(1)
            if isinstance(fan, events.AllToAll):
                unit_weight = (params.weights[name] > 0).astype(jnp.float32)
            zeros[end] = jnp.zeros(wiring.part.size(teacher.target))
            collected.append(
                Delivery(
                    words=delays.due(state.delay_lines[teacher.source], state.step, steps),
                    fans=(fan,),
                    weights=(unit_weight,),
                    gains=(None,),
                    scales=(None,),
                    ends=(end,),
                )
            )
    return collected, zeros


def _own_delays(wiring: Wiring, projection: Projection) -> bool:
    """Whether the synapses of a projection have delays of their own."""
    fan = wiring.fans[projection.name]
    return isinstance(fan, events.FanOut) and fan.delays is not None


def ring_bundles(wiring: Wiring) -> list[list[Projection]]:
    """Projections with delays of their own, grouped by source; no two of a group share a ring."""
    groups: list[list[Projection]] = []
    for p in wiring.spec.projections:
        if not _own_delays(wiring, p):
            continue
        for group in groups:
            shared = ring_of(p) in map(ring_of, group)
            if group[0].source == p.source and not shared:
                group.append(p)
                break
        else:
            groups.append([p])
    return groups


def end_of_ring(spec: Spec, name: str) -> str:
    """The receptor at which a ring of arrivals ends, as "golgi.exc"."""
    return next(f"{p.target}.{p.receptor}" for p in spec.projections if ring_of(p) == name)


@jax.custom_jvp
def without_gradient(operands: Any) -> Any:
    """Operands of the event path, of which a gradient is refused by name."""
    return operands


@without_gradient.defjvp
def _refuse_gradient(primals, tangents):
    raise UsageError(
        "path: 'event', which has no gradients; cb.build(..., path=\"dense\") with a surrogate"
    )
