"""The schema of all settings. Flags override the environment, which overrides a TOML file.

`load` returns the settings, or raises an error with a line for each problem that names its place.
Keys left out of [neural] are derived from `granule_size`.
"""

import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict, SettingsError

from cerebellum.errors import UsageError

PREFIX = "CEREBELLAR__"
"""Start of the names of environment variables that are settings."""

LONGEST = 200
"""Characters of a value that a message shows."""
DEEPEST = 100
"""Tables within tables that a file may have."""
TOO_DEEP = "nested too deeply; sections with keys"

REMOVED = {
    "neural.model": "every population of this circuit has the model 'current'; a `Spec` in Python "
    "has others",
    "performance.cuda_streams": "XLA chooses its streams itself; performance.batch_size puts more "
    "markets into a call",
}
"""Keys of earlier versions that nothing read, and what to use instead."""


def _whole(value: Any) -> Any:
    """Refuse floats and booleans, which pydantic would round or read as integers."""
    if isinstance(value, (bool, float)):
        raise ValueError("not a whole number")
    return value


def _not_bool(value: Any) -> Any:
    """Refuse booleans, which pydantic would read as numbers."""
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


def _size(value: Any) -> Any:
    """Accept bytes as an integer, or a number with a unit of bytes; "20Gb" is gigabits, refused."""
    if isinstance(value, (bool, float)) or (isinstance(value, int) and value < 1):
        raise ValueError("not a size")
    if isinstance(value, str) and not re.fullmatch(r"\d+(\.\d+)?\s*([kKMGTP]i?)?B?", value.strip()):
        raise ValueError("not a size")
    return value


Count = Annotated[int, BeforeValidator(_whole), Field(ge=1, le=4_000_000_000)]
Number = Annotated[float, BeforeValidator(_not_bool), Field(allow_inf_nan=False)]
Positive = Annotated[Number, Field(gt=0)]
Share = Annotated[Number, Field(ge=0, le=1)]
Size = Annotated[ByteSize, BeforeValidator(_size)]


def _host_name(value: Any) -> Any:
    """Refuse what is no bare name of a host: one with a scheme, a port or a path."""
    if not isinstance(value, str) or not re.fullmatch(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*", value):
        raise ValueError("not a name of a host")
    return value.lower()


HostName = Annotated[str, BeforeValidator(_host_name)]


def is_loopback(host: str) -> bool:
    """Whether a host is this machine for itself alone: localhost, 127.0.0.0/8 or ::1."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


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
    seed: Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**32)] = Field(
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
    kernels: Literal["auto", "xla", "native"] = Field(
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
    batch_size: Count = Field(default=32, description="samples in an update")
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
    port: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=65_535)] = Field(
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


Tree = dict[str, Any]


def load(path: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Load the settings of a file, overridden by the environment, overridden by flags.

    Args:
      path: a TOML file; None for the defaults.
      flags: values by dotted key, such as "neural.granule_size".

    Raises:
      UsageError: the message has a line for each problem, `place: section.key: problem (value; what
        would be right)`.
    """
    file_values = {} if path is None else read(Path(path))
    problems = _unknown_variables()
    try:
        variables = {} if problems else EnvSettingsSource(Settings)()
    except SettingsError:
        variables, problems = {}, _no_tables()
    flag_values = {tuple(key.split(".")): value for key, value in (flags or {}).items()}
    merged: Tree = {}
    places: dict[tuple[str, ...], str] = {}
    layers = (
        (_leaves(file_values), lambda key: str(path)),
        (_leaves(variables), lambda key: PREFIX + "__".join(key).upper()),
        (flag_values.items(), lambda key: "--" + key[-1].replace("_", "-")),
    )
    for leaves, place in layers:
        for key, value in leaves:
            _put(merged, key, value)
            places[key] = place(key)
    try:
        settings = Settings(**merged)
    except ValidationError as error:
        problems += [_line(each, places, str(path)) for each in error.errors()]
    else:
        if not problems:
            return settings
    raise UsageError("\n".join(problems))


def read(path: Path) -> Tree:
    """Read the tables of a TOML file.

    Raises:
      UsageError: the file does not exist, cannot be read, or is not TOML.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; a configuration in TOML") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; a configuration in TOML") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8; a configuration in TOML") from None
    except tomllib.TOMLDecodeError as error:
        end = f"(at line {len(path.read_text().splitlines())}, the last)"
        message = str(error).replace("(at end of document)", end)
        raise UsageError(f"{path}: not TOML: {message}") from None
    except ValueError as error:
        # An integer of thousands of digits.
        raise UsageError(f"{path}: not TOML: {str(error).split(';')[0]}") from None
    except RecursionError:
        raise UsageError(f"{path}: {TOO_DEEP}") from None
    if _depth(tree) > DEEPEST:
        raise UsageError(f"{path}: {TOO_DEEP}")
    return tree


def _depth(tree: Any) -> int:
    """How many tables and lists lie within each other; counted without recursion."""
    level, depth = [tree], 0
    while level:
        values = [v.values() if isinstance(v, dict) else v for v in level]
        level = [each for value in values for each in value if isinstance(each, dict | list)]
        depth += 1
    return depth


def shown(value: Any) -> str:
    """A value as a message shows it: on one line, and not without end."""
    text = str(value) if isinstance(value, Path) else repr(value)
    text = text if text.isprintable() else repr(text)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def schema() -> Tree:
    """The JSON Schema of the configuration."""
    return Settings.model_json_schema()


def _leaves(tree: Tree, prefix: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """The values of nested tables, each with its key as a path."""
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def _put(tree: Tree, key: tuple[str, ...], value: Any) -> None:
    """Set a value in nested tables, making the tables on its path."""
    for name in key[:-1]:
        table = tree.get(name)
        if not isinstance(table, dict):
            table = tree[name] = {}
        tree = table
    tree[key[-1]] = value


def _keys(model: type[BaseModel], prefix: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The paths of all keys that can be set."""
    for name, field in model.model_fields.items():
        section = field.annotation
        if isinstance(section, type) and issubclass(section, BaseModel):
            yield from _keys(section, (*prefix, name))
        else:
            yield (*prefix, name)


def _unknown_variables() -> list[str]:
    """A line for each environment variable that sets nothing; pydantic-settings ignores these."""
    known = ["__".join(key).upper() for key in _keys(Settings)]
    problems = []
    for variable, value in os.environ.items():
        if variable.upper().startswith(PREFIX):
            key = variable.upper().removeprefix(PREFIX)
            removed = _removed(tuple(key.lower().split("__")))
            if removed is not None:
                problems.append(f"{variable}: {_gone(removed, value)}")
            elif key not in known:
                near = difflib.get_close_matches(key, known, 1, 0)
                problems.append(
                    f"{variable}: no such key ({shown(value)}; perhaps {PREFIX}{near[0]})"
                )
    return problems


def _no_tables() -> list[str]:
    """A line for each environment variable that stands for a table and is not one in JSON."""
    problems = []
    for variable, value in os.environ.items():
        if variable.upper() == f"{PREFIX}TRAINING__COLUMNS":
            remedy = 'JSON, such as {"price": "last"}'
            problems.append(f"{variable}: training.columns: no table ({shown(value)}; {remedy})")
    return problems


def _removed(key: tuple[str, ...]) -> str | None:
    """The name in `REMOVED` of a key, or of a table that it is in; None if it is not there."""
    names = (".".join(key[:length]) for length in range(1, len(key) + 1))
    return next((name for name in names if name in REMOVED), None)


def _gone(name: str, value: Any) -> str:
    return f"{name}: no longer a key ({shown(value)}; {REMOVED[name]})"


def _line(error: Any, places: Mapping[tuple[str, ...], str], file: str) -> str:
    """An error of pydantic as a line."""
    key = tuple(str(name) for name in error["loc"] if name != "[key]")
    place = next((place for path, place in places.items() if path[: len(key)] == key), file)
    name, value = ".".join(key), error["input"]
    name = name if name.isprintable() and len(name) <= LONGEST else shown(name)
    kind, context = error["type"], error.get("ctx", {})
    removed = _removed(key) if kind == "extra_forbidden" else None
    if removed is not None:
        return f"{place}: {_gone(removed, value)}"
    if kind == "extra_forbidden":
        return f"{place}: {name}: unknown {_suggest(key)}"
    if kind == "value_error" and isinstance(value, Mapping | BaseModel):
        return f"{place}: {name}: {context['error']}"
    problem, remedy = _problem(kind, context), _remedy(kind, context)
    return f"{place}: {name}: {problem} ({shown(value)}; {remedy})"


def _suggest(key: tuple[str, ...]) -> str:
    """The kind of an unknown key, and the known key that is nearest to it."""
    keys = list(_keys(Settings))
    if len(key) == 1:
        near = difflib.get_close_matches(key[0], Settings.model_fields, 1, 0)
        return f"section; perhaps [{near[0]}]"
    same_section = [".".join(each) for each in keys if each[: len(key) - 1] == key[:-1]]
    same_name = [".".join(each) for each in keys if each[-1] == key[-1]]
    near = same_name or difflib.get_close_matches(".".join(key), same_section, 1, 0)
    return f"key; perhaps {near[0]}" if near else "key"


_PROBLEMS = {
    "greater_than": "too small",
    "greater_than_equal": "too small",
    "less_than": "too large",
    "less_than_equal": "too large",
    "finite_number": "not finite",
    "literal_error": "unknown choice",
    "string_too_short": "empty",
}
_REMEDIES = {
    "greater_than": "above {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "below {lt}",
    "less_than_equal": "at most {le}",
    "finite_number": "a finite number",
    "literal_error": "{expected}",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "float_parsing": "a number",
    "float_type": "a number",
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "string_type": "a text",
    "path_type": "a path",
    "model_type": "a section",
    "model_attributes_type": "a section",
    "dict_type": "a table",
    "byte_size": 'bytes, or a size such as "20GB"',
    "byte_size_unit": 'bytes, or a size such as "20GB"',
}


def _problem(kind: str, context: Mapping[str, Any]) -> str:
    """What is wrong with a value, by the type of pydantic's error."""
    if kind == "value_error":
        return str(context["error"])
    return _PROBLEMS.get(kind, "wrong type")


def _remedy(kind: str, context: Mapping[str, Any]) -> str:
    """What value would be right, by the type of pydantic's error."""
    if kind != "value_error":
        return _REMEDIES.get(kind, "another value").format(**context)
    message = str(context["error"])
    if message == "not a size":
        return 'bytes, or a size such as "20GB"'
    if message == "not a name of a host":
        return 'a name without a port, such as "signals.example.com"'
    return "a whole number" if message == "not a whole number" else "a number"
