"""Groups of mice that learn differently in eyeblink conditioning.

The circuit of `eyeblink_circuit` was fitted to the mice of Geminiani et al. 2024, which come to
85 %. Those of Kim, Ohmae & Medina 2020 (Nat Neurosci) stay near 60 to 65 % however long they are
paired, and a puff makes their climbing fibres fire about once. For these a puff has a single spike
(`Timing(us_ms=2)`), and what four spikes taught, one teaches.
"""

from dataclasses import dataclass, replace

import numpy as np

from cerebellum.documented import documented
from cerebellum.errors import UsageError, is_number
from cerebellum.learn.tasks.eyeblink_circuit import NUCLEAR, PARALLEL
from cerebellum.model.plasticity import Rule
from cerebellum.model.spec import Spec

HOLDING_PA = -4700.0
"""Current into the olive, from 20 ms before the puff to 30 ms after its start, that leaves it about
a fifth of its spikes in a puff of five spikes: light on the olive of Kim, Ohmae & Medina 2020."""


@documented
@dataclass(frozen=True, kw_only=True)
class Cohort:
    """What is different in a group of mice, as factors on the values of the fitted circuit."""

    teaching: float = 1.0
    """factor on what a climbing-fibre spike takes from the synapses of parallel fibres"""
    nuclear: float = 1.0
    """factor on the rates of learning of mossy fibres onto the nuclei"""
    holding_pa: float = HOLDING_PA
    """current into the olive that holds it down, pA"""

    def __post_init__(self):
        for name in ("teaching", "nuclear"):
            factor = getattr(self, name)
            if not is_number(factor) or not 0 <= factor < float("inf"):
                raise UsageError(f"{name}: {factor!r}; a factor, zero or more")
        if not is_number(self.holding_pa) or not np.isfinite(self.holding_pa):
            raise UsageError(f"holding_pa: {self.holding_pa!r}; a current, pA")

    def changed(self, spec: Spec) -> Spec:
        """The spec of the fitted circuit with the rates of learning of this group."""
        for projection in spec.projections:
            rule = projection.rule
            if projection.name == PARALLEL and isinstance(rule, Rule):
                rule = replace(rule, per_pair=rule.per_pair * self.teaching)
            elif projection.name == NUCLEAR and isinstance(rule, Rule):
                plus, minus = rule.per_spike * self.nuclear, rule.per_pair * self.nuclear
                rule = replace(rule, per_spike=plus, per_pair=minus)
            if rule != projection.rule:
                spec = spec.with_projection(projection.name, rule=rule)
        return spec


FITTED = Cohort()
"""The mice that the circuit was fitted to."""
