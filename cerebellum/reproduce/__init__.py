"""Published protocols, run by `cerebellar-norse reproduce NAME` and compared with published values.

There is one module for each subject. It has a function (seed, say) -> Report for each of its names
in `REPRODUCTIONS`; that of a long protocol also takes the folder of its saved parts. A module is
imported only when it runs.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from cerebellum.reproduce.report import Report


@dataclass(frozen=True)
class Reproduction:
    """A protocol that can be run."""

    summary: str
    module: str
    function: str

    resumes: bool = False
    """whether its function takes a third argument, the folder where it saves parts of the run"""

    def load(self) -> "Callable[..., Report]":
        """The function that runs the protocol. A seed of None stands for the reported seeds."""
        return getattr(import_module(f"cerebellum.reproduce.{self.module}"), self.function)

    def run(self, seed: int | None, say: "Callable[[str], None]", out: "Path") -> "Report":
        """Run the protocol; `out` is the folder of its results."""
        more = (out / "parts",) if self.resumes else ()
        return self.load()(seed, say, *more)


REPRODUCTIONS = {
    "casali-background": Reproduction(
        "Model A under 1 Hz of background: population rates", "casali", "background"
    ),
    "casali-burst": Reproduction(
        "Model A in a 50 ms burst of its glomeruli: population rates", "casali", "burst"
    ),
    "casali-space": Reproduction(
        "Model A wired in space, at rest: population rates", "casali", "space"
    ),
    "eglif-cells": Reproduction("E-GLIF cells without synapses: rates", "eglif", "cells"),
    "eglif-basal": Reproduction(
        "Model B, in vitro and awake, at rest: population rates", "eglif", "basal"
    ),
    "eglif-burst": Reproduction(
        "Model B, in vitro and awake, in a 50 ms burst: population rates", "eglif", "burst"
    ),
    "granular-layer": Reproduction(
        "the granular layer of Model B: centre and surround, resonance, time window, cut-off",
        "granular_layer",
        "layer_as_filter",
    ),
    "time-step": Reproduction("both models at 1 ms beside 0.1 ms", "time_step", "compare"),
    "plasticity-kernels": Reproduction(
        "learning rules: kernels, and the published unit protocol", "kernels", "kernels"
    ),
    "eyeblink": Reproduction(
        "delay eyeblink conditioning: learning curve, extinction, savings, controls",
        "eyeblink",
        "condition",
        resumes=True,
    ),
    "eyeblink-timing": Reproduction(
        "delay eyeblink conditioning with 200, 300 and 500 ms to the puff: when the response comes",
        "eyeblink_timing",
        "intervals",
        resumes=True,
    ),
    "olive-extinction": Reproduction(
        "pairing with the olive held down at the puff extinguishes the response",
        "olive_extinction",
        "hold",
        resumes=True,
    ),
    "complex-spike": Reproduction(
        "complex spikes: pause of simple spikes, pause and rebound of the nuclei",
        "complex_spike",
        "complex_spikes",
    ),
    "dystonia": Reproduction(
        "delay eyeblink conditioning of a healthy circuit and of three models of dystonia",
        "dystonia",
        "compare",
        resumes=True,
    ),
    "vor": Reproduction(
        "vestibulo-ocular reflex: gain adapts up and down, and only with an olive", "vor", "adapt"
    ),
    "vor-consolidation": Reproduction(
        "vestibulo-ocular reflex: adaptation moves from the flocculus to the nuclei in three days",
        "vor_consolidation",
        "consolidate",
        resumes=True,
    ),
    "microcircuit": Reproduction(
        "cortical microcircuit of Potjans & Diesmann at full scale: population rates",
        "microcircuit",
        "rates",
    ),
}
"""Protocols by name."""
