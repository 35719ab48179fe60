"""Plots of recordings and results.

Every function takes `ax`: None for a new figure of pyplot, a figure or subfigure, or Axes. A plot
of one panel returns its Axes, a plot of several returns `Panels`, the Axes by name, with `figure`
and `savefig`. `style` gives plots of your own the same look, and a light or a dark background.
"""

from cerebellum.plot.animation import animate
from cerebellum.plot.comparison import compare, curves
from cerebellum.plot.conditioning import blocks, intervals, learning_curve, sessions, single_trials
from cerebellum.plot.connectivity import degrees, diagram, projections, weight_matrix, weights
from cerebellum.plot.events import around, evoked, grid
from cerebellum.plot.figure import Panels, Windows, blank
from cerebellum.plot.look import COLOURS, style
from cerebellum.plot.recording import raster, rates, traces
from cerebellum.plot.reflex import Lesions, lesions
from cerebellum.plot.training import evaluation, history

__all__ = [
    "COLOURS",
    "Lesions",
    "Panels",
    "Windows",
    "animate",
    "around",
    "blank",
    "blocks",
    "compare",
    "curves",
    "degrees",
    "diagram",
    "evaluation",
    "evoked",
    "grid",
    "history",
    "intervals",
    "learning_curve",
    "lesions",
    "projections",
    "raster",
    "rates",
    "sessions",
    "single_trials",
    "style",
    "traces",
    "weight_matrix",
    "weights",
]
