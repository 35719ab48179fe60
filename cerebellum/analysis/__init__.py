"""Analyses of recordings that people look for first, computed by Elephant.

Elephant (Denker et al. 2018, https://doi.org/10.12751/incf.ni2018.0019) is an optional package:
`pip install "cerebellar-norse[analysis]"`. These helpers choose a population by its name, give it
to Elephant and return arrays of NumPy, with units in the names. Everything else in Elephant takes
`recording.to_neo()`.

The time stamp of a spike is the end of its step. Where spikes are counted in bins, each counts at
the middle of its step: a bin has the spikes of its own steps, as in `cb.record.rate_course`.
"""

from cerebellum.analysis.correlograms import (
    autocorrelogram,
    correlation,
    crosscorrelogram,
    spike_contrast,
)
from cerebellum.analysis.field import lfp_proxy
from cerebellum.analysis.intervals import cv, cv2, fano_factor, isi
from cerebellum.analysis.rates import power_spectrum, psth

__all__ = [
    "autocorrelogram",
    "correlation",
    "crosscorrelogram",
    "cv",
    "cv2",
    "fano_factor",
    "isi",
    "lfp_proxy",
    "power_spectrum",
    "psth",
    "spike_contrast",
]
