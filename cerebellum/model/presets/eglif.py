"""Model B: the E-GLIF circuit of the mouse, 300 x 200 um (Geminiani et al. 2019, De Schepper 2022).

Cells, weights and delays are those of cerebellar-models 0.7: `basal_vitro.yaml` and
`dcn_vitro_nest.yaml`, and the files for the awake animal where it differs. Numbers of cells and
in-degrees were counted in a reconstruction that the builder of cerebellar-models made; those of
parallel fibres and ascending axons by its rule of overlap, with the cells in the same places, and
those of nuclei and olive follow its rules.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache, partial
from typing import Any, Literal, NamedTuple, get_args

import numpy as np
from jax import Array

from cerebellum.errors import UsageError
from cerebellum.model.neurons import relay
from cerebellum.model.neurons.eglif import Params
from cerebellum.model.population import Population
from cerebellum.model.presets import coarse, eglif_complex_spike, eglif_olive
from cerebellum.model.presets.eglif_complex_spike import ComplexSpike
from cerebellum.model.presets.eglif_granular import GranularLayer
from cerebellum.model.presets.eglif_olive import Olive
from cerebellum.model.presets.eglif_space import place, positions
from cerebellum.model.presets.protocol import Protocol
from cerebellum.model.projection import Projection
from cerebellum.model.short_term import ShortTerm
from cerebellum.model.spec import Spec

Condition = Literal["vitro", "awake"]

_INTERNEURON = Params(
    c_m=14.6,
    tau_m=9.125,
    e_l=-68.0,
    t_ref=1.59,
    v_reset=-78.0,
    v_th=-53.0,
    k_adap=2.025,
    k_1=1.887,
    k_2=1.096,
    a_1=5.953,
    a_2=5.863,
    i_e=3.711,
    lambda_0=1.8,
    tau_v=1.0,
    e_rev=(0.0, -80.0, 0.0),
    tau_syn=(0.64, 2.0, 1.2),
)

_VITRO = {
    "granule": Params(),
    "golgi": Params(
        c_m=145.0,
        tau_m=44.0,
        e_l=-62.0,
        t_ref=2.0,
        v_reset=-75.0,
        v_th=-55.0,
        k_adap=0.217,
        k_1=0.031,
        k_2=0.023,
        a_1=259.988,
        a_2=178.01,
        i_e=16.214,
        lambda_0=0.15,
        tau_v=0.09,
        e_rev=(0.0, -80.0, 0.0),
        tau_syn=(0.23, 10.0, 0.5),
    ),
    "purkinje": Params(
        c_m=334.0,
        tau_m=47.0,
        e_l=-59.0,
        t_ref=0.5,
        v_reset=-69.0,
        v_th=-43.0,
        v_min=-350.0,
        k_adap=1.491,
        k_1=0.195,
        k_2=0.041,
        a_1=157.622,
        a_2=172.622,
        i_e=590.0,
        lambda_0=0.5,
        tau_v=2.0,
        e_rev=(0.0, -80.0, 0.0),
        tau_syn=(1.1, 2.8, 0.4),
    ),
    "basket": _INTERNEURON,
    "stellate": _INTERNEURON,
    "nuclei": Params(
        c_m=142.0,
        tau_m=33.0,
        e_l=-45.0,
        t_ref=1.5,
        v_reset=-55.0,
        v_th=-36.0,
        k_adap=0.408,
        k_1=0.697,
        k_2=0.047,
        a_1=13.857,
        a_2=3.477,
        i_e=75.385,
        lambda_0=1.5,
        tau_v=1.0,
        e_rev=(0.0, -80.0),
        tau_syn=(1.0, 0.7),
    ),
    "nuclei_inhibitory": Params(
        c_m=56.0,
        tau_m=56.0,
        e_l=-40.0,
        t_ref=3.0,
        v_reset=-55.0,
        v_th=-39.0,
        k_adap=0.079,
        k_1=0.041,
        k_2=0.044,
        a_1=176.358,
        a_2=176.358,
        i_e=2.384,
        lambda_0=0.9,
        tau_v=1.0,
        e_rev=(0.0, -80.0),
        tau_syn=(3.64, 1.14),
    ),
    "inferior_olive": Params(
        c_m=189.0,
        tau_m=11.0,
        e_l=-45.0,
        t_ref=1.0,
        v_reset=-45.0,
        v_th=-35.0,
        k_adap=1.928,
        k_1=0.191,
        k_2=0.091,
        a_1=1810.923,
        a_2=1358.197,
        i_e=-18.101,
        lambda_0=1.2,
        tau_v=0.8,
        e_rev=(0.0, -80.0),
        tau_syn=(1.0, 60.0),
    ),
}

CELLS: dict[Condition, dict[str, Params]] = {
    "vitro": _VITRO,
    "awake": {
        **_VITRO,
        "purkinje": replace(_VITRO["purkinje"], i_e=700.0, lambda_0=4.0, tau_v=3.5),
        "nuclei": replace(_VITRO["nuclei"], lambda_0=3.0, tau_v=3.0),
    },
}
"""The cells by condition: in a slice, and in an awake animal."""

ISOLATED_HZ: dict[Condition, dict[str, float]] = {
    "vitro": {
        "granule": 0.0,
        "golgi": 12.8,
        "purkinje": 45.6,
        "basket": 9.5,
        "stellate": 9.5,
        "nuclei": 33.0,
        "nuclei_inhibitory": 14.1,
        "inferior_olive": 0.0,
    },
    "awake": {"purkinje": 83.0, "nuclei": 62.0},
}
"""Rates of cells without synapses, Hz, in an independent run of the published equations, 9 s at 0.1
ms. cerebellar-models states about 45 and 80 for the Purkinje cell."""

SIZES = {
    "mossy_fiber": 117,
    "glomerulus": 2_340,
    "granule": 30_420,
    "golgi": 71,
    "purkinje": 69,
    "basket": 150,
    "stellate": 299,
    "nuclei": 119,
    "nuclei_inhibitory": 67,
    "inferior_olive": 14,
    "olivary_afferent": 14,
}
"""Number of cells by population, from the reconstruction; nuclei and olive follow from densities.
There is one afferent per olivary cell. Afferents are silent unless they are driven; a task sends
its teaching signal through them."""


BURST_CENTRE = (150.0, 65.0, 100.0)
"""Centre of the mossy fibres that burst, um."""
BURST_RADIUS = 90.0
"""Radius of the region in which mossy fibres burst, um."""


class Row(NamedTuple):
    """A projection of the table."""

    source: str
    label: str
    target: str
    receptor: str
    vitro: float
    """weight of a contact in a slice, nS"""
    awake: float
    """weight of a contact in an awake animal, nS"""
    contacts: float
    delay: float
    """ms"""
    in_degree: float
    degree_sd: float
    sites: int | None


_TABLE = (
    Row("mossy_fiber", "", "glomerulus", "spikes", 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, None),
    Row("glomerulus", "", "granule", "r1", 0.23, 0.23, 1.0, 1.0, 4.0, 0.0, None),
    Row("glomerulus", "", "golgi", "r1", 0.24, 0.24, 1.0, 1.0, 118.0, 33.0, None),
    Row("golgi", "", "granule", "r2", 0.24, 0.24, 1.49, 2.0, 3.4, 0.0, 14),
    Row("golgi", "", "golgi", "r2", 0.007, 0.007, 159.7, 4.0, 19.6, 6.6, None),
    Row("granule", "ascending", "golgi", "r3", 0.82, 0.82, 1.0, 2.0, 316.0, 108.0, None),
    Row("granule", "parallel", "golgi", "r3", 0.05, 0.05, 1.0, 5.0, 1_094.0, 322.0, None),
    Row("granule", "ascending", "purkinje", "r1", 0.2, 0.41, 1.0, 2.0, 96.0, 26.0, None),
    Row("granule", "parallel", "purkinje", "r1", 0.05, 0.14, 1.0, 5.0, 1_514.0, 295.0, None),
    Row("granule", "parallel", "basket", "r1", 0.04, 0.06, 1.0, 5.0, 833.0, 143.0, None),
    Row("granule", "parallel", "stellate", "r1", 0.05, 0.08, 1.0, 5.0, 506.0, 168.0, None),
    Row("basket", "", "basket", "r2", 0.006, 0.006, 99.6, 4.0, 18.1, 7.8, None),
    Row("stellate", "", "stellate", "r2", 0.005, 0.005, 99.5, 4.0, 13.3, 5.1, None),
    Row("basket", "", "purkinje", "r2", 0.44, 0.80, 1.0, 4.0, 10.5, 4.2, None),
    Row("stellate", "", "purkinje", "r2", 0.17, 0.17, 9.5, 5.0, 4.6, 2.6, None),
    Row("mossy_fiber", "", "nuclei", "r1", 0.25, 0.25, 1.0, 4.0, 46.8, 0.0, 117),
    Row("purkinje", "", "nuclei", "r2", 0.80, 0.35, 1.0, 4.0, 25.9, 0.0, 69),
    Row("purkinje", "", "nuclei_inhibitory", "r2", 0.06, 0.02, 1.0, 4.0, 12.4, 0.0, 69),
    Row("inferior_olive", "climbing", "purkinje", "r3", 0.6, 1.6, 500.0, 4.0, 1.0, 0.0, None),
    Row("inferior_olive", "", "basket", "r3", 5.0, 5.0, 1.0, 40.0, 4.0, 0.0, None),
    Row("inferior_olive", "", "stellate", "r3", 6.5, 5.0, 1.0, 40.0, 1.0, 0.0, None),
    Row("inferior_olive", "", "nuclei", "r1", 0.5, 0.4, 1.0, 4.0, 7.0, 0.0, 14),
    Row("inferior_olive", "", "nuclei_inhibitory", "r1", 0.25, 0.25, 1.0, 5.0, 7.0, 0.0, 14),
    Row("nuclei_inhibitory", "", "inferior_olive", "r2", 0.45, 0.45, 1.0, 25.0, 33.5, 0.0, 67),
    Row("olivary_afferent", "", "inferior_olive", "r1", 55.0, 100.0, 1.0, 1.0, 1.0, 0.0, None),
)
"""All projections, with static synapses. A connected pair has one synapse, whose weight is that of
a contact times the number of contacts. The weight of olivary afferents is that of the published
conditioning stimulus."""

_GRANULE_NS = next(row.vitro for row in _TABLE if row[:3] == ("glomerulus", "", "granule"))
"""Weight of a glomerulus on a granule cell, static, nS."""

_SHORT_TERM = {
    # (source, label, target): weight of a contact in nS, U, recovery and facilitation in ms
    ("glomerulus", "", "granule"): (0.53, 0.43, 8.0, 5.0),
    ("glomerulus", "", "golgi"): (0.56, 0.43, 8.0, 5.0),
    ("golgi", "", "granule"): (0.68, 0.35, 36.0, 58.0),
    ("granule", "ascending", "golgi"): (2.05, 0.40, 35.1, 54.0),
    ("granule", "parallel", "golgi"): (0.125, 0.40, 35.1, 54.0),
    ("granule", "ascending", "purkinje"): (1.53, 0.13, 35.1, 54.0),
    ("granule", "parallel", "purkinje"): (0.38, 0.13, 35.1, 54.0),
    ("granule", "parallel", "basket"): (0.26, 0.15, 35.1, 10.8),
    ("granule", "parallel", "stellate"): (0.15, 0.15, 35.1, 10.8),
    ("basket", "", "basket"): (0.020, 0.42, 38.7, 4.0),
    ("stellate", "", "stellate"): (0.0005, 0.42, 38.7, 4.0),
    ("basket", "", "purkinje"): (1.25, 0.35, 15.0, 4.0),
    ("stellate", "", "purkinje"): (0.48, 0.35, 15.0, 4.0),
}
"""Short-term plasticity in a slice (`basal_vitro.yaml`, `tsodyks2_synapse`)."""

_AWAKE_WEIGHTS = {
    ("granule", "parallel", "purkinje"): 1.07,
    ("granule", "ascending", "purkinje"): 3.15,
    ("granule", "parallel", "stellate"): 0.10,
    ("granule", "parallel", "basket"): 0.40,
    ("basket", "", "purkinje"): 2.28,
}
"""Weights (nS) that are others in an awake animal (`basal_awake_tsodyks.yaml`)."""

LOOP = (
    ("mossy_fiber", "", "nuclei"),
    ("purkinje", "", "nuclei"),
    ("purkinje", "", "nuclei_inhibitory"),
    ("inferior_olive", "", "nuclei"),
    ("inferior_olive", "", "nuclei_inhibitory"),
    ("nuclei_inhibitory", "", "inferior_olive"),
)
"""Projections that do not leave a microzone, in addition to the climbing fibres."""


@cache
def _placing(
    microzones: int, coupled: bool, pausing: bool, granular: GranularLayer
) -> Callable[[Array], dict[str, Any]]:
    """The `place` function of a spec; it is cached, so that equal specs compare as equal.

    Args:
      coupled: whether the olive has gap junctions.
      pausing: whether complex spikes leave a pause.
    """
    rows = {(row.source, row.label, row.target): row for row in _TABLE}
    return partial(
        place,
        sizes=SIZES,
        in_degrees={pair: (row.in_degree, row.degree_sd) for pair, row in rows.items()},
        contacts={pair: row.contacts for pair, row in rows.items()},
        loop=LOOP,
        microzones=microzones,
        coupled=("inferior_olive",) if coupled else (),
        climbing=eglif_complex_spike.NAMES if pausing else (),
        altered=partial(granular.edges, weight=_GRANULE_NS)
        if granular != GranularLayer()
        else None,
    )


def bursting(key: Array) -> np.ndarray:
    """Mask of the mossy fibres that burst in the circuit built with `key`: bool [N].

    As published, these are the fibres within 90 um of (150, 65, 100) um.
    """
    fibres = positions(key, SIZES)["mossy_fiber"]
    return np.linalg.norm(fibres - np.array(BURST_CENTRE), axis=1) <= BURST_RADIUS


def mouse_eglif(
    condition: Condition = "vitro",
    *,
    dt: float = 0.1,
    microzones: int = 1,
    short_term: bool = False,
    granular: GranularLayer | None = None,
    olive: Olive = "silent",
    olive_coupling: float = 0.0,
    complex_spike: ComplexSpike = "published",
) -> Spec:
    """The spec of Model B; the cells of its cortex have positions in space.

    Args:
      condition: "vitro" or "awake".
      dt: time step, ms; published is 0.1. Refractory periods are whole steps: at 1 ms, 2 ms
        instead of 1.5 and 1.59, and none instead of 0.5.
      microzones: number of microzones, which the loops of Purkinje cells, nuclei and olive, and the
        mossy fibres to nuclei, do not leave. In-degrees do not depend on it. See
        `eglif_space.microzone`.
      short_term: whether synapses have short-term plasticity, with weights of its own; otherwise
        synapses are static.
      granular: mechanisms that make granule cells represent time; None, as published, for none.
      olive: "silent", as published: it fires only when it is driven; or "firing": it fires at 1 to
        2 Hz at rest and once in a puff of its afferents (see `eglif_olive`).
      olive_coupling: conductance of the gap junctions of the olive, nS, which couple each pair of
        its cells within a microzone with the probability `eglif_space.COUPLED`; 0 for none.
      complex_spike: "published", which leaves no pause after a single spike of a climbing fibre; or
        "pausing", which opens potassium channels after a longer synaptic current, and whose
        climbing fibres depress (see `eglif_complex_spike`).

    Raises:
      UsageError: the condition, the olive, the complex spike or the number of microzones is
        unknown, the coupling is no conductance, or the cells or delays do not allow the time step.
    """
    if condition not in CELLS:
        raise UsageError(f"condition: {condition!r}; one of {', '.join(get_args(Condition))}")
    if microzones not in (1, 2):
        raise UsageError(f"microzones: {microzones}; 1, or 2 in opposition")
    granular = GranularLayer() if granular is None else granular
    if not isinstance(granular, GranularLayer):
        raise UsageError(f"granular: {granular!r}; a GranularLayer(brush_cells=BrushCells(), ...)")
    eglif_olive.check(olive, olive_coupling)
    eglif_complex_spike.check(complex_spike)
    awake, cells = condition == "awake", CELLS[condition]
    pausing = complex_spike == "pausing"
    populations = tuple(
        Population(
            name=name,
            size=size,
            model="eglif" if name in cells else "relay",
            params=cells.get(name, relay.Params()),
        )
        for name, size in SIZES.items()
    )
    projections = tuple(_projection(row, awake, short_term) for row in _TABLE)
    spec = Spec(
        name="mouse-eglif-awake" if awake else "mouse-eglif",
        populations=granular.populations(populations),
        projections=granular.projections(projections, SIZES["glomerulus"], _GRANULE_NS),
        dt=dt,
        place=_placing(microzones, olive_coupling > 0, pausing, granular),
    )
    spec = eglif_olive.with_olive(spec, condition, olive, olive_coupling)
    spec = eglif_complex_spike.with_pause(spec) if pausing else spec
    return coarse.with_whole_periods(spec)


def _projection(row: Row, awake: bool, short_term: bool) -> Projection:
    """The projection of a row of the table."""
    weight, rule = row.awake if awake else row.vitro, None
    ends = row.source, row.label, row.target
    plasticity = _SHORT_TERM.get(ends)
    if short_term and plasticity is not None:
        weight, utilisation, tau_rec, tau_fac = plasticity
        weight = _AWAKE_WEIGHTS.get(ends, weight) if awake else weight
        rule = ShortTerm(utilisation=utilisation, tau_rec=tau_rec, tau_fac=tau_fac)
    return Projection(
        source=row.source,
        label=row.label,
        target=row.target,
        receptor=row.receptor,
        weight=weight,
        contacts=row.contacts,
        delay=row.delay,
        in_degree=row.in_degree,
        degree_sd=row.degree_sd,
        sites=row.sites,
        short_term=rule,
    )


BASAL_HZ: dict[Condition, dict[str, float]] = {
    "vitro": {
        "mossy_fiber": 4.0,
        "granule": 3.4,
        "golgi": 11.0,
        "purkinje": 47.0,
        "basket": 16.0,
        "stellate": 13.0,
        "nuclei": 11.0,
        "nuclei_inhibitory": 11.0,
        "inferior_olive": 0.0,
    },
    "awake": {
        "mossy_fiber": 4.0,
        "granule": 3.4,
        "golgi": 11.0,
        "purkinje": 91.0,
        "basket": 21.0,
        "stellate": 18.0,
        "nuclei": 45.0,
        "nuclei_inhibitory": 13.0,
        "inferior_olive": 0.0,
    },
}
"""Published rates (Hz) with 4 Hz in all mossy fibres, as means over the cells that fire at least
once in 5 s (cerebellar-models 0.7, `nest.rst`, `dcn.rst`, `io.rst`)."""

BURST_HZ: dict[Condition, dict[str, float]] = {
    "vitro": {
        "mossy_fiber": 45.0,
        "granule": 21.0,
        "golgi": 52.0,
        "purkinje": 59.0,
        "basket": 59.0,
        "stellate": 52.0,
        "nuclei": 24.0,
        "nuclei_inhibitory": 9.4,
    },
    "awake": {
        "mossy_fiber": 45.0,
        "granule": 21.0,
        "golgi": 52.0,
        "purkinje": 140.0,
        "basket": 77.0,
        "stellate": 71.0,
        "nuclei": 57.0,
        "nuclei_inhibitory": 10.0,
    },
}
"""Published rates (Hz) while the mossy fibres of `bursting` receive an additional 150 Hz for 50 ms
(same source)."""


def _protocol(condition: Condition) -> Protocol:
    return Protocol(
        input="mossy_fiber",
        background_hz=4.0,
        burst_hz=154.0,
        burst_ms=(700.0, 750.0),
        bursting=bursting,
        windows={"background": (200.0, 700.0), "burst": (700.0, 750.0)},
        published_hz=BASAL_HZ[condition],
        note="published: cerebellar-models 0.7, background, means over the cells that fire in 5 s; "
        "the columns before it are means over all cells.",
    )


PROTOCOLS: dict[Condition, Protocol] = {name: _protocol(name) for name in get_args(Condition)}
"""The standard stimuli: 4 Hz in all mossy fibres, and an additional 150 Hz for 50 ms in those of
`bursting`."""
