"""The sections of a configuration: every key, its range, and what it means."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ByteSize, ConfigDict, Field, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from cerebellum.config.values import (
    Count,
    HostName,
    Number,
    Positive,
    Share,
    Size,
    is_loopback,
    whole,
)

PREFIX = "CEREBELLAR__"
"""Start of the names of environment variables that are settings."""


class Section(BaseModel):
    """A table of the configuration: it is frozen and refuses unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Neural(Section):
    """The circuit, its step and its random seed."""

    granule_size: Annotated[Count, Field(ge=100)] = Field(
        default=100_000, description="granule cells"
    )
    purkinje_size: Count | None = Field(default=None, description="Purkinje cells")
    golgi_size: Count | None = Field(default=None, description="Golgi cells")
    stellate_size: Count | None = Field(default=None, description="stellate cells")
    basket_size: Count | None = Field(default=None, description="basket cells")
    dcn_size: Count | None = Field(default=None, description="cells of the deep nuclei")
    inferior_olive_size: Count | None = Field(
        default=None, description="cells of the inferior olive"
    )
    mossy_fiber_size: Count | None = Field(default=None, description="mossy fibres")
    beams: Count | None = Field(
        default=None,
        description="number of parts that no parallel fibre leaves; default 200,000 granules each",
    )
    dt: Annotated[Positive, Field(le=2)] = Field(default=1.0, description="time step, ms")
    steps_per_tick: Annotated[Count, Field(le=10_000)] = Field(
        default=10, description="simulated steps for each market tick"
    )
    learning_rate: Annotated[Number, Field(ge=0, le=0.1)] = Field(
        default=2e-4,
        description="gain of plasticity: change of a parallel-fibre weight at each spike, as a "
        "share of its bound; 0 switches learning off",
    )
    sparsity: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of a beam's parallel fibres that a Purkinje cell has no contact with",
    )
    seed: Annotated[int, BeforeValidator(whole), Field(ge=0, lt=2**32)] = Field(
        default=0, description="random seed of wiring and noise"
    )


class Performance(Section):
    """The device, the backend, and limits of memory."""

    device: Literal["auto", "cpu", "cuda"] = Field(
        default="auto", description="the device that computes"
    )
    batch_size: Annotated[Count, Field(le=512)] = Field(
        default=1, description="markets that are processed in one batch"
    )
    kernels: Literal["auto", "xla", "native", "cuda"] = Field(
        default="auto", description="the backend of the event path"
    )
    threads: Annotated[Count, Field(le=1_024)] | None = Field(
        default=None, description="threads of native kernels; default OMP_NUM_THREADS, or else 1"
    )
    memory_pool_enabled: bool = Field(
        default=True,
        description="whether XLA keeps a pool of a GPU's memory; without it every array is "
        "allocated and freed on its own, which is slow",
    )
    memory_pool_size: Size | None = Field(
        default=None,
        description="size of that pool, reserved at the start, bytes; default three quarters of "
        "the GPU's memory",
    )
    memory_limit: Size | None = Field(
        default=None,
        description="a circuit that needs more memory is refused, and markets above it are put "
        "away, bytes; default all there is",
    )
    garbage_collection_threshold: Annotated[Share, Field(gt=0)] = Field(
        default=0.9,
        description="share of memory_limit from which idle markets are written to disk, and "
        "programs that only the start needed are dropped",
    )
    weight_dtype: Literal["float32", "uint16"] = Field(
        default="uint16", description="type of parallel-fibre weights; uint16 is fixed point"
    )

    @model_validator(mode="after")
    def _pooled(self):
        if self.memory_pool_size is not None and not self.memory_pool_enabled:
            raise ValueError(
                f"memory_pool_size {self.memory_pool_size} and memory_pool_enabled = false; one"
            )
        return self


class Stdp(Section):
    """Constants of the training method "stdp"; weights are shares of the largest one."""

    tau_pre: Positive = Field(
        default=20.0, description="time constant of pairs whose mossy-fibre spike comes first, ms"
    )
    tau_post: Positive = Field(default=20.0, description="time constant of the other pairs, ms")
    a_plus: Annotated[Number, Field(ge=0)] = Field(
        default=0.01, description="change for a pair of the first kind without a lag"
    )
    a_minus: Annotated[Number, Field(ge=0)] = Field(
        default=0.001, description="change for a pair of the second kind without a lag"
    )
    w_min: Share = Field(default=0.0, description="smallest weight of a contact")
    w_max: Annotated[Share, Field(gt=0)] = Field(
        default=1.0, description="largest weight of a contact"
    )

    @model_validator(mode="after")
    def _ordered(self):
        if self.w_min >= self.w_max:
            raise ValueError(f"w_min {self.w_min} and w_max {self.w_max}; w_min below w_max")
        return self


class Training(Section):
    """Batch training of a model."""

    method: Literal["climbing_fiber", "surrogate_gradient", "hybrid", "stdp"] = Field(
        default="surrogate_gradient", description="the method of learning"
    )
    optimizer: Literal["adam", "sgd", "rmsprop"] = Field(
        default="adam", description="optimizer of the gradient methods"
    )
    loss: Literal["mse", "mae", "huber", "cross_entropy"] = Field(
        default="cross_entropy", description="the loss that training minimises"
    )
    epochs: Count = Field(default=10, description="passes over the data")
    batch_size: Count = Field(
        default=32, description="stretches of the data that are run side by side in an update"
    )
    window: Count = Field(
        default=4,
        description="ticks of each stretch in an update; gradients do not go back further",
    )
    learning_rate: Positive = Field(
        default=1e-2, description="size of an update of a weight, as a share of its mean"
    )
    gradient_clipping: Positive = Field(default=1.0, description="largest norm of a gradient")
    gradient_checkpointing: bool = Field(
        default=True, description="whether the backward pass recomputes states to save memory"
    )
    validation_split: Annotated[Number, Field(gt=0, le=0.85)] = Field(
        default=0.2,
        description="share of the data held out for validation and early stopping: the part before "
        "the last tenth, which only `evaluate` reads",
    )
    early_stopping_patience: Count = Field(
        default=5, description="epochs without progress after which training stops"
    )
    checkpoint_interval: Positive = Field(default=600.0, description="time between checkpoints, s")
    max_checkpoints: Count = Field(default=5, description="how many of the newest checkpoints stay")
    microzones: Count = Field(
        default=1,
        description="groups of nuclear cells that learn by gradients each from its own error; the "
        "answer is their mean",
    )
    swap_noise: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of the features that training shows with the value of another tick",
    )
    dropout: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of the nuclear cells that the readout does not hear in a step down the "
        "gradient",
    )
    rate_epochs: Annotated[int, BeforeValidator(whole), Field(ge=0)] = Field(
        default=0,
        description="most passes over the data in which networks of rates learn, from the best of "
        "which the circuit then starts; 0: it starts from regression",
    )
    fields: Count = Field(default=6, description="receptive fields to a feature")
    field_width: Positive = Field(
        default=0.6,
        description="standard deviation of a receptive field, in distances between neighbours",
    )
    rank_blur: Annotated[Number, Field(gt=0, le=1)] = Field(
        default=0.1,
        description="width over which the rank of a feature rises, as a share of its standard "
        "deviation; the smaller, the finer are values told apart where many lie close together",
    )
    code: Literal["rate", "regular", "latency"] = Field(
        default="rate",
        description="spikes of a mossy fibre in a tick: a burst at its start (rate), as many "
        "spikes but spread evenly (regular), or one that comes earlier (latency)",
    )
    burst: Count = Field(
        default=8,
        description="most spikes of a mossy fibre in a tick, at most neural.steps_per_tick; with "
        'the code "latency" the steps in which its one spike may come',
    )
    readout_tau: Positive = Field(
        default=4.0,
        description="time constant of the filter through which the readout hears nuclear cells, ms",
    )
    refractory: Annotated[Number, Field(ge=0)] = Field(
        default=2.0,
        description="refractory period of the nuclear cells that learn, ms, a multiple of the step",
    )
    largest_weight: Annotated[Number, Field(ge=2)] = Field(
        default=10.0,
        description="largest weight that is learned, in units of a projection's initial mean",
    )
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="whether rare classes have larger weights in the loss"
    )
    stdp: Stdp = Field(default_factory=Stdp, description='constants of the method "stdp"')
    columns: dict[str, str] = Field(
        default_factory=dict, description="names of a file's columns, by their meaning"
    )
    data: Path | None = Field(default=None, description="file or directory of training data")

    @model_validator(mode="after")
    def _learns(self):
        rule = self.stdp
        gain, loss = rule.a_plus * rule.tau_pre, rule.a_minus * rule.tau_post
        if self.method == "stdp" and not loss < gain:
            raise ValueError(
                f"stdp.a_minus {rule.a_minus} x tau_post {rule.tau_post}, which unlearns what "
                f"a_plus {rule.a_plus} x tau_pre {rule.tau_pre} learns; below it"
            )
        return self


class Server(Section):
    """The HTTP service."""

    host: Annotated[str, Field(min_length=1)] = Field(default="127.0.0.1", description="address")
    port: Annotated[int, BeforeValidator(whole), Field(ge=1, le=65_535)] = Field(
        default=8080, description="TCP port"
    )
    worker_threads: Annotated[Count, Field(le=1_024)] = Field(
        default=4,
        description="threads for blocking work beside the engine: health, metrics, training",
    )
    latency_slo: Positive | None = Field(
        default=None, description="longest acceptable step, s; default 10e-6 on CUDA, 1e-3 on CPU"
    )
    connection_timeout: Positive = Field(
        default=30.0, description="time limit of a request, and of a silent connection, s"
    )
    keep_alive_timeout: Positive = Field(
        default=5.0, description="time after which an idle connection is closed, s"
    )
    max_connections: Count = Field(default=1_000, description="most open connections")
    max_body_size: Size = Field(default=ByteSize(10**6), description="largest request, bytes")
    max_markets: Count = Field(default=100, description="most markets that are active at once")
    clock_tolerance: Positive = Field(
        default=300.0,
        description="how far the timestamp of a tick may be ahead of this machine's clock, s",
    )
    allowed_hosts: tuple[HostName, ...] = Field(
        default=(),
        description="names by which clients may call this machine, beside server.host, localhost "
        "and addresses",
    )
    api_key_file: Path | None = Field(
        default=None, description="file of the API key; required if host is not loopback"
    )

    @model_validator(mode="after")
    def _guarded(self):
        if not is_loopback(self.host) and self.api_key_file is None:
            raise ValueError(f'host "{self.host}" is not loopback and there is no api_key_file')
        return self


class Logging(Section):
    """Log files."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="lowest level that is logged"
    )
    format: Literal["json", "human"] = Field(default="json", description="format of a line")
    file: Path | None = Field(default=None, description="log file; default standard error")
    max_files: Count = Field(default=30, description="rotated files that stay")
    max_size: Size = Field(
        default=ByteSize(100 * 10**6), description="size at which the file is rotated, bytes"
    )
    compression: Literal["gzip", "none"] = Field(
        default="gzip", description="compression of rotated files"
    )


class Storage(Section):
    """The directories of models, backups and data."""

    models: Path = Field(default=Path("models"), description="checkpoints")
    backups: Path = Field(default=Path("backups"), description="copies of checkpoints")
    data: Path = Field(default=Path("data"), description="training data")


class Settings(BaseSettings):
    """All settings."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__"
    )

    neural: Neural = Field(default_factory=Neural, description="the circuit")
    performance: Performance = Field(
        default_factory=Performance, description="device, backend and memory"
    )
    training: Training = Field(default_factory=Training, description="batch training")
    server: Server = Field(default_factory=Server, description="the service")
    logging: Logging = Field(default_factory=Logging, description="logs")
    storage: Storage = Field(default_factory=Storage, description="directories")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
    ):
        """Use only the values that `load` has merged, because it knows where each came from."""
        return (init_settings,)
