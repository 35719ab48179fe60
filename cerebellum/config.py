"""The one schema of everything that can be set: TOML, then environment, then flags.

`load` gives settings or one line for each thing wrong with them, naming where it stands. Keys
left out of [neural] follow from `granule_size`.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ByteSize,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, EnvSettingsSource, SettingsConfigDict

from cerebellum.errors import UsageError

PREFIX = "CEREBELLAR__"

Population = Literal[
    "granule", "golgi", "purkinje", "basket", "stellate", "nuclei", "inferior_olive"
]


def _whole(value: Any) -> Any:
    """Refuse what pydantic would round or read as a number."""
    if isinstance(value, (bool, float)):
        raise ValueError("not a whole number")
    return value


def _not_bool(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("not a number")
    return value


def _size(value: Any) -> Any:
    """Plain bytes, or a number with a unit of bytes; "20Gb", gigabits, is nobody's memory."""
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


class Section(BaseModel):
    """Frozen, and closed to unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Neural(Section):
    """The circuit."""

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
        description="parts that no parallel fibre leaves; default 200,000 granules each",
    )
    model: dict[Population, Literal["current"]] = Field(
        default_factory=dict, description="neuron model by population"
    )
    dt: Annotated[Positive, Field(le=2)] = Field(default=1.0, description="step, ms")
    steps_per_tick: Count = Field(default=10, description="steps that a market tick takes")
    learning_rate: Annotated[Number, Field(ge=0, le=0.1)] = Field(
        default=2e-4,
        description="of plasticity: gain of a parallel-fibre weight at each spike, as a share of "
        "its bound; 0 switches learning off",
    )
    sparsity: Annotated[Number, Field(ge=0, lt=1)] = Field(
        default=0.0,
        description="share of a beam's parallel fibres that a Purkinje cell has no contact with",
    )
    seed: Annotated[int, BeforeValidator(_whole), Field(ge=0, lt=2**32)] = Field(
        default=0, description="of wiring and noise"
    )


class Performance(Section):
    """Where and how it runs."""

    device: Literal["auto", "cpu", "cuda"] = Field(default="auto", description="what computes")
    batch_size: Count = Field(default=1, description="markets to a call")
    cuda_streams: Annotated[Count, Field(le=64)] = Field(default=2, description="chunks in flight")
    kernels: Literal["auto", "xla", "native"] = Field(default="auto", description="which kernels")
    threads: Annotated[Count, Field(le=1_024)] | None = Field(
        default=None, description="of native kernels; default OMP_NUM_THREADS, or else 1"
    )
    memory_pool_enabled: bool = Field(default=True, description="let XLA's allocator keep a pool")
    memory_pool_size: Size = Field(default=ByteSize(20 * 10**9), description="that pool, bytes")
    memory_limit: Size | None = Field(
        default=None, description="what needs more is refused, bytes; default what there is"
    )
    garbage_collection_threshold: Annotated[Share, Field(gt=0)] = Field(
        default=0.9, description="share of the limit at which idle markets and programs are dropped"
    )
    weight_dtype: Literal["float32", "uint16"] = Field(
        default="uint16", description="of parallel-fibre weights; uint16 is fixed point"
    )


class Stdp(Section):
    """Spike-timing dependent plasticity."""

    tau_pre: Positive = Field(default=20.0, description="presynaptic trace, ms")
    tau_post: Positive = Field(default=20.0, description="postsynaptic trace, ms")
    a_plus: Annotated[Number, Field(ge=0)] = Field(default=0.01, description="gain of a pair")
    a_minus: Annotated[Number, Field(ge=0)] = Field(default=0.012, description="loss of a pair")
    w_min: Number = Field(default=0.0, description="least weight")
    w_max: Number = Field(default=1.0, description="largest weight")

    @model_validator(mode="after")
    def _ordered(self):
        if self.w_min >= self.w_max:
            raise ValueError(f"w_min {self.w_min} is not below w_max {self.w_max}")
        return self


class Training(Section):
    """Batch training."""

    method: Literal["climbing_fiber", "surrogate_gradient", "hybrid", "stdp"] = Field(
        default="surrogate_gradient", description="how it learns"
    )
    optimizer: Literal["adam", "sgd", "rmsprop"] = Field(default="adam", description="of gradients")
    loss: Literal["mse", "mae", "huber", "cross_entropy"] = Field(
        default="cross_entropy", description="what falls"
    )
    epochs: Count = Field(default=10, description="passes over the data")
    batch_size: Count = Field(default=32, description="samples to an update")
    learning_rate: Positive = Field(
        default=1e-2, description="a step of a weight, as a share of its mean"
    )
    gradient_clipping: Positive = Field(default=1.0, description="largest norm of a gradient")
    gradient_checkpointing: bool = Field(
        default=True, description="compute again instead of keeping"
    )
    validation_split: Annotated[Share, Field(lt=1)] = Field(
        default=0.2, description="share held out"
    )
    early_stopping_patience: Count = Field(default=5, description="epochs without progress")
    checkpoint_interval: Positive = Field(default=600.0, description="between checkpoints, s")
    max_checkpoints: Count = Field(default=5, description="newest ones kept")
    class_weights: Literal["none", "balanced"] = Field(
        default="none", description="whether rare choices count for more"
    )
    columns: dict[str, str] = Field(
        default_factory=dict, description="names of a file's columns, by what they are"
    )
    data: Path | None = Field(default=None, description="file or directory of training data")
    stdp: Stdp = Field(default_factory=Stdp, description="of method stdp")


class Server(Section):
    """The service."""

    host: Annotated[str, Field(min_length=1)] = Field(default="127.0.0.1", description="address")
    port: Annotated[int, BeforeValidator(_whole), Field(ge=1, le=65_535)] = Field(
        default=8080, description="TCP port"
    )
    worker_threads: Annotated[Count, Field(le=1_024)] = Field(
        default=4, description="for blocking work"
    )
    latency_slo: Positive | None = Field(
        default=None, description="longest good step, s; default 10e-6 on CUDA, 1e-3 on CPU"
    )
    connection_timeout: Positive = Field(default=30.0, description="s")
    keep_alive_timeout: Positive = Field(default=5.0, description="s")
    max_connections: Count = Field(default=1_000, description="open at once")
    max_body_size: Size = Field(default=ByteSize(10**6), description="largest request, bytes")
    max_markets: Count = Field(default=100, description="markets with a state")
    api_key_file: Path | None = Field(default=None, description="needed where host is not loopback")

    @model_validator(mode="after")
    def _guarded(self):
        if self.host not in ("127.0.0.1", "::1", "localhost") and self.api_key_file is None:
            raise ValueError(f'host "{self.host}" is not loopback and there is no api_key_file')
        return self


class Logging(Section):
    """What is written down."""

    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        default="INFO", description="least level"
    )
    format: Literal["json", "human"] = Field(default="json", description="of a line")
    file: Path | None = Field(default=None, description="default standard error")
    max_files: Count = Field(default=30, description="rotated files kept")
    max_size: Size = Field(default=ByteSize(100 * 10**6), description="at which it rotates, bytes")
    compression: Literal["gzip", "none"] = Field(default="gzip", description="of rotated files")


class Storage(Section):
    """Directories."""

    models: Path = Field(default=Path("models"), description="checkpoints")
    backups: Path = Field(default=Path("backups"), description="copies of them")
    data: Path = Field(default=Path("data"), description="training data")


class Settings(BaseSettings):
    """Everything that can be set."""

    model_config = SettingsConfigDict(
        extra="forbid", frozen=True, env_prefix=PREFIX, env_nested_delimiter="__"
    )

    neural: Neural = Field(default_factory=Neural, description="the circuit")
    performance: Performance = Field(default_factory=Performance, description="where it runs")
    training: Training = Field(default_factory=Training, description="batch training")
    server: Server = Field(default_factory=Server, description="the service")
    logging: Logging = Field(default_factory=Logging, description="logs")
    storage: Storage = Field(default_factory=Storage, description="directories")

    @classmethod
    def settings_customise_sources(
        cls, settings_cls, init_settings, env_settings, dotenv_settings, file_secret_settings
    ):
        """Only what `load` has merged: it knows where each value came from."""
        return (init_settings,)


Tree = dict[str, Any]


def load(path: str | Path | None = None, flags: Mapping[str, Any] | None = None) -> Settings:
    """Settings of a file, overridden by the environment, overridden by flags.

    Args:
      path: TOML file; None for defaults.
      flags: by dotted key, such as "neural.granule_size".

    Raises:
      UsageError: one line for each problem, `place: section.key: problem (value; what would be
        right)`.
    """
    file = {} if path is None else read(Path(path))
    problems = _unknown_variables()
    variables = {} if problems else EnvSettingsSource(Settings)()
    dotted = {tuple(key.split(".")): value for key, value in (flags or {}).items()}
    merged: Tree = {}
    places: dict[tuple[str, ...], str] = {}
    layers = (
        (_leaves(file), lambda key: str(path)),
        (_leaves(variables), lambda key: PREFIX + "__".join(key).upper()),
        (dotted.items(), lambda key: "--" + key[-1].replace("_", "-")),
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
    """The tables of a TOML file.

    Raises:
      UsageError: not there, not readable, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UsageError(f"{path}: no such file; a configuration in TOML") from None
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}; a configuration in TOML") from None
    except UnicodeDecodeError:
        raise UsageError(f"{path}: not UTF-8; a configuration in TOML") from None
    except tomllib.TOMLDecodeError as error:
        end = f"(at line {len(path.read_text().splitlines())}, the last)"
        said = str(error).replace("(at end of document)", end)
        raise UsageError(f"{path}: not TOML: {said}") from None


def schema() -> Tree:
    """JSON Schema of the configuration."""
    return Settings.model_json_schema()


def _leaves(tree: Tree, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in tree.items():
        if isinstance(value, dict) and value:
            yield from _leaves(value, (*above, key))
        else:
            yield (*above, key), value


def _put(tree: Tree, key: tuple[str, ...], value: Any) -> None:
    for part in key[:-1]:
        inner = tree.get(part)
        if not isinstance(inner, dict):
            inner = tree[part] = {}
        tree = inner
    tree[key[-1]] = value


def _keys(model: type[BaseModel], above: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Every key that can be set."""
    for name, field in model.model_fields.items():
        inner = field.annotation
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            yield from _keys(inner, (*above, name))
        else:
            yield (*above, name)


def _unknown_variables() -> list[str]:
    """A line for each variable that sets nothing: pydantic-settings ignores these silently."""
    known = ["__".join(key).upper() for key in _keys(Settings)]
    known += [f"NEURAL__MODEL__{population.upper()}" for population in get_args(Population)]
    problems = []
    for name, value in os.environ.items():
        if name.upper().startswith(PREFIX):
            rest = name.upper().removeprefix(PREFIX)
            if rest not in known:
                near = difflib.get_close_matches(rest, known, 1, 0)
                problems.append(f"{name}: no such key ({value!r}; perhaps {PREFIX}{near[0]})")
    return problems


def _line(error: Any, places: Mapping[tuple[str, ...], str], file: str) -> str:
    """One of pydantic's errors as a line."""
    at = tuple(str(part) for part in error["loc"] if part != "[key]")
    place = next((where for key, where in places.items() if key[: len(at)] == at), file)
    name, value = ".".join(at), error["input"]
    kind, context = error["type"], error.get("ctx", {})
    if kind == "extra_forbidden":
        return f"{place}: {name}: unknown {_unknown(at)}"
    if kind == "value_error" and isinstance(value, Mapping | BaseModel):
        return f"{place}: {name}: {context['error']}"
    return f"{place}: {name}: {_said(kind, context)} ({value!r}; {_right(at, kind, context)})"


def _unknown(at: tuple[str, ...]) -> str:
    """What an unknown key may have meant."""
    keys = list(_keys(Settings))
    if len(at) == 1:
        near = difflib.get_close_matches(at[0], Settings.model_fields, 1, 0)
        return f"section; perhaps [{near[0]}]"
    inside = [".".join(key) for key in keys if key[: len(at) - 1] == at[:-1]]
    elsewhere = [".".join(key) for key in keys if key[-1] == at[-1]]
    near = elsewhere or difflib.get_close_matches(".".join(at), inside, 1, 0)
    return f"key; perhaps {near[0]}" if near else "key"


_SAID = {
    "greater_than": "too small",
    "greater_than_equal": "too small",
    "less_than": "too large",
    "less_than_equal": "too large",
    "finite_number": "not finite",
    "literal_error": "unknown choice",
    "string_too_short": "empty",
}
_RIGHT = {
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


def _said(kind: str, context: Mapping[str, Any]) -> str:
    if kind == "value_error":
        return str(context["error"])
    return _SAID.get(kind, "wrong type")


def _right(at: tuple[str, ...], kind: str, context: Mapping[str, Any]) -> str:
    """What would have been right."""
    if kind != "value_error":
        return _RIGHT.get(kind, "another value").format(**context)
    said = str(context["error"])
    if said == "not a size":
        return 'bytes, or a size such as "20GB"'
    return "a whole number" if said == "not a whole number" else "a number"
