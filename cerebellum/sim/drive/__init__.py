"""The drive of a circuit from outside, over time.

A drive maps keys to a source, or to a list of sources, which add up:

    "golgi"       a population. A relay repeats spikes; several sources are one spike where any of
                  them has one. Other cells take a current, in the unit of their model.
    "golgi.r1"    a receptor of a population: synaptic events, each with a weight

Sources of spikes, which have a weight where the key is a receptor:

    poisson, burst, Poisson      independent spikes at piecewise constant rates
    RateFunction                 independent spikes at rates that are a function of time
    SpikeTimes                   a list of spikes; read_spike_times, from_neo, from_nwb
    an array, or array(...)      [time, N], one row a step: spikes (0 or 1), or weights

Sources of current, pA (mV for `current` cells):

    a number, current            constant
    step_current, ramp, sine     over time
    noise                        Ornstein-Uhlenbeck
    CurrentFunction              a function of time
    an array, or array(...)      [time, N], one row a step

Times count from step zero of the state, so that a run may be divided into several calls with the
same drive. Arrays alone begin with the call.
"""

from cerebellum.sim.drive.checks import check, check_span
from cerebellum.sim.drive.currents import (
    Current,
    CurrentFunction,
    current,
    noise,
    ramp,
    sine,
    step_current,
)
from cerebellum.sim.drive.draws import Relayed, combine, draw, relayed
from cerebellum.sim.drive.files import from_neo, from_nwb, read_spike_times
from cerebellum.sim.drive.plan import Plan, plan
from cerebellum.sim.drive.sources import (
    Drive,
    Moment,
    Poisson,
    RateFunction,
    Source,
    SpikeTimes,
    Values,
    array,
    burst,
    poisson,
    standard,
)
from cerebellum.sim.drive.steps import Events, in_steps, spike_steps, words_of
from cerebellum.sim.drive.targets import population_of

__all__ = [
    "Current",
    "CurrentFunction",
    "Drive",
    "Events",
    "Moment",
    "Plan",
    "Poisson",
    "RateFunction",
    "Relayed",
    "Source",
    "SpikeTimes",
    "Values",
    "array",
    "burst",
    "check",
    "check_span",
    "combine",
    "current",
    "draw",
    "from_neo",
    "from_nwb",
    "in_steps",
    "noise",
    "plan",
    "poisson",
    "population_of",
    "ramp",
    "read_spike_times",
    "relayed",
    "sine",
    "spike_steps",
    "standard",
    "step_current",
    "words_of",
]
