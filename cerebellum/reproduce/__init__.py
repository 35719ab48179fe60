"""`cerebellar-norse reproduce NAME`: published protocols, measured beside published.

One module a subject; each has a function (seed, say) -> Report for every name below. Nothing of it
is imported until it runs.
"""

from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    from cerebellum.reproduce.report import Report


@dataclass(frozen=True)
class Reproduction:
    """Something that can be reproduced."""

    summary: str
    module: str
    function: str

    def load(self) -> "Callable[[int | None, Callable[[str], None]], Report]":
        """The function that runs it: of a seed, or None for those that are reported."""
        return getattr(import_module(f"cerebellum.reproduce.{self.module}"), self.function)


REPRODUCTIONS = {
    "casali-background": Reproduction(
        "Model A under 1 Hz of background: population rates", "casali", "background"
    ),
    "casali-burst": Reproduction(
        "Model A in a 50 ms burst of its glomeruli: population rates", "casali", "burst"
    ),
    "eglif-cells": Reproduction("E-GLIF cells without synapses: rates", "eglif", "cells"),
    "eglif-basal": Reproduction(
        "Model B, in vitro and awake, at rest: population rates", "eglif", "basal"
    ),
    "eglif-burst": Reproduction(
        "Model B, in vitro and awake, in a 50 ms burst: population rates", "eglif", "burst"
    ),
    "time-step": Reproduction("both models at 1 ms beside 0.1 ms", "time_step", "compare"),
    "plasticity-kernels": Reproduction(
        "learning rules: kernels, and the published unit protocol", "kernels", "kernels"
    ),
    "eyeblink": Reproduction(
        "delay eyeblink conditioning: learning curve, extinction, savings, controls",
        "eyeblink",
        "condition",
    ),
    "vor": Reproduction(
        "vestibulo-ocular reflex: gain adapts up and down, and only with an olive", "vor", "adapt"
    ),
}
"""By name."""
