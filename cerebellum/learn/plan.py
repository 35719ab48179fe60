"""How a training run goes, as plain values."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from cerebellum.errors import UsageError
from cerebellum.learn import encode
from cerebellum.learn.stdp import Timing

Method = Literal["surrogate_gradient", "climbing_fiber", "hybrid", "stdp"]
METHODS = get_args(Method)
GRADIENT_METHODS: tuple[Method, ...] = ("surrogate_gradient", "hybrid")
"""Methods of which gradients are a part."""

LEAST_HYBRID = 3
"""Least epochs of "hybrid": with fewer, climbing fibres have no turn; see `Plan.method_of`."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How to train; static. Names and meanings are those of the configuration's `[training]`."""

    method: Method = "surrogate_gradient"
    optimizer: Literal["adam", "sgd", "rmsprop"] = "adam"
    loss: Literal["cross_entropy", "mse", "mae", "huber"] = "cross_entropy"
    epochs: int = 10
    learning_rate: float = 1e-2
    """Step of a weight, as a share of its projection's mean weight."""
    gradient_clipping: float = 1.0
    gradient_checkpointing: bool = True
    validation_split: float = 0.2
    """Share of the data in the validation split; see `ticks.prepare`."""
    early_stopping_patience: int = 5
    balanced: bool = False
    """Whether samples are weighted so that every choice has the same total weight."""
    microzones: int = 1
    """Groups of nuclear cells that learn by gradients each from its own error. The answer is the
    mean of their logits, as that of an ensemble of small networks."""
    swap_noise: float = 0.0
    """Share of the features that training shows with the value of another tick of the training
    split, so that no answer depends on a single feature (swap noise, after the denoising of
    Vincent et al. 2010)."""
    dropout: float = 0.0
    """Share of the nuclear cells that the readout does not hear in a step down the gradient, drawn
    anew for each sample, so that no answer depends on a few cells (Srivastava et al. 2014)."""
    rate_epochs: int = 0
    """Most passes over the samples in which rate networks learn, from the best of which the circuit
    then starts (see `rate_network`); with 0 it starts from regression."""
    rank_blur: float = encode.BLUR
    """Width over which a feature's rank rises, as a share of its standard deviation."""
    plasticity: float = 2e-4
    """Gain of climbing-fibre learning, `neural.learning_rate` of the configuration."""
    stdp: Timing = field(default_factory=Timing)
    """Constants of the method "stdp"."""
    seed: int = 0

    def __post_init__(self):
        if self.method not in METHODS:
            raise UsageError(f"training.method: {self.method!r}; one of {', '.join(METHODS)}")
        if self.microzones > 1 and not self.descends:
            raise UsageError(
                f"training.microzones: {self.microzones}; 1 with training.method "
                f"{self.method!r}: only {' and '.join(GRADIENT_METHODS)} teach each alone"
            )
        if self.dropout and not self.descends:
            raise UsageError(
                f"training.dropout: {self.dropout}; 0 with training.method {self.method!r}: only "
                f"{' and '.join(GRADIENT_METHODS)} take steps down the gradient"
            )
        if self.rate_epochs and not self.descends:
            raise UsageError(
                f"training.rate_epochs: {self.rate_epochs}; 0 with training.method "
                f"{self.method!r}: only {' and '.join(GRADIENT_METHODS)} start from a rate network"
            )

    def method_of(self, epoch: int) -> Method:
        """The method of an epoch: of "hybrid", the one whose turn it is."""
        if self.method != "hybrid":
            return self.method
        in_turn = epoch % 2 == 1 and epoch < self.epochs - 1
        return "climbing_fiber" if in_turn else "surrogate_gradient"

    @property
    def descends(self) -> bool:
        """Whether gradients are among the methods: the run then does not start untaught."""
        return self.method in GRADIENT_METHODS


def check_turns(method: Method, epochs: int) -> None:
    """Raise UsageError if climbing fibres would have no turn in "hybrid"."""
    if method == "hybrid" and epochs < LEAST_HYBRID:
        raise UsageError(
            f"training.epochs: {epochs}; at least {LEAST_HYBRID} with training.method 'hybrid', "
            "whose first and last epochs are of gradients"
        )
