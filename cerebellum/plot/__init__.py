"""Plots of recordings and results.

Every function returns a matplotlib figure; save it with `savefig`.
"""

from cerebellum.plot.comparison import compare, curves
from cerebellum.plot.conditioning import blocks, intervals, learning_curve, sessions, single_trials
from cerebellum.plot.events import around, evoked, grid
from cerebellum.plot.figure import COLOURS, Windows
from cerebellum.plot.recording import raster, rates, traces
from cerebellum.plot.reflex import Lesions, lesions
from cerebellum.plot.training import evaluation, history

__all__ = [
    "COLOURS",
    "Lesions",
    "Windows",
    "around",
    "blocks",
    "compare",
    "curves",
    "evaluation",
    "evoked",
    "grid",
    "history",
    "intervals",
    "learning_curve",
    "lesions",
    "raster",
    "rates",
    "sessions",
    "single_trials",
    "traces",
]
