"""Model B: E-GLIF cells of the mouse (Geminiani et al. 2019, De Schepper et al. 2022).

Parameters as in cerebellar-models 0.7: `basal_vitro.yaml` and `dcn_vitro_nest.yaml`, and where the
awake animal differs, its own files.
"""

from dataclasses import replace
from typing import Literal

from cerebellum.model.neurons.eglif import Params

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
"""The cells of a slice, and of an awake animal."""

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
"""Rates of cells without synapses, Hz: an independent run of the published equations, 9 s at 0.1
ms. cerebellar-models gives about 45 and 80 for the Purkinje cell."""
