"""The pages of the API reference: every public name, once, by subject.

`cerebellum/__init__.py` is read, not imported: its table says where each name lives, and a module
on it shows the names in its `__all__`, or else everything that it defines without an underscore.
"""

import ast
from dataclasses import dataclass, field
from functools import cache

from examples import ROOT


@dataclass(frozen=True)
class Page:
    """A page of the reference."""

    title: str
    intro: str
    names: tuple[str, ...] = ()
    """names of `cb`; a module stands for all that it offers"""
    modules: dict[str, str] = field(default_factory=dict)
    """Further modules of the package that users import, by what they are for."""


PAGES = {
    "circuits": Page(
        "Circuits",
        "The description of a circuit, and the circuit that is built from it.",
        (
            *("Spec", "Population", "Projection", "Edges", "GapJunctions", "connect"),
            *("Distribution", "Normal", "LogNormal", "Uniform", "build", "Circuit", "init"),
            *("silence", "scale_weights", "with_params"),
        ),
    ),
    "presets": Page("Presets", "Circuits that come with the package.", ("presets",)),
    "neurons": Page(
        "Neurons",
        "Neuron models, and how to add one.",
        ("define_neuron", "neurons", "Surrogate"),
        {"cerebellum.model.surrogate": "Surrogate gradients of spikes."},
    ),
    "plasticity": Page(
        "Plasticity",
        "Learning rules, homeostasis and short-term plasticity.",
        ("define_rule", "Rule", "Window", "consolidate"),
        {
            "cerebellum.model.plasticity": "Published rules.",
            "cerebellum.model.plasticity.protocol": "What a rule of one's own implements.",
            "cerebellum.model.homeostasis": "Synaptic scaling and homeostasis of thresholds.",
            "cerebellum.model.short_term": "Terminals that depress and facilitate.",
        },
    ),
    "simulating": Page(
        "Simulating",
        "Runs, batches, sweeps and fits.",
        (
            *("simulate", "simulate_batch", "sweep", "fit", "Interrupted", "FitInterrupted"),
            *("step", "UsageError", "compilation_cache"),
        ),
        {
            "cerebellum.sim.sweep": "The table of a sweep.",
            "cerebellum.learn.fit": "The result of a fit.",
            "cerebellum.xla": "Settings of the compiler.",
        },
    ),
    "drives": Page("Drives", "What reaches a circuit from outside.", ("drive",)),
    "records": Page("Records", "What is recorded, and what follows from it.", ("record",)),
    "analysis": Page(
        "Analysis", "Intervals, correlations, spectra and synchrony, by Elephant.", ("analysis",)
    ),
    "plots": Page("Plots", "Pictures of recordings and experiments.", ("plot",)),
    "files": Page("Files", "Recordings and networks as files and for other programs.", ("io",)),
    "checkpoints": Page(
        "Checkpoints",
        "Circuits and their states, saved and restored.",
        ("store",),
        {
            "cerebellum.store.snapshot": "A circuit and its state as a checkpoint.",
            "cerebellum.store.tools": "Checkpoints verified and listed.",
            "cerebellum.store.copies": "Checkpoints copied and restored.",
        },
    ),
    "training": Page(
        "Training",
        "A circuit that is trained on arrays of one's own, and the conditioning tasks.",
        ("arrays", "losses", "layers", "tasks"),
    ),
    "devices": Page("Devices", "One circuit, or a batch, on several devices.", ("shard",)),
    "extending": Page(
        "Extending",
        "What is added to the package from outside, and the protocols of these things.",
        ("register",),
        {
            "cerebellum.model.neurons.protocol": "A neuron model.",
            "cerebellum.backends": "A backend.",
            "cerebellum.model.primitives": "The operations that a backend may replace.",
            "cerebellum.sim.chunk": "The loop over steps, as a value.",
        },
    ),
}


def _tree(module: str) -> ast.Module:
    path = ROOT / module.replace(".", "/")
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    return ast.parse(file.read_text())


def _assigned(module: str, name: str) -> object:
    for node in _tree(module).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == name:
            return ast.literal_eval(node.value)
    return None


@cache
def front_door() -> dict[str, str]:
    """Where each name of `cb` lives: name to dotted path."""
    homes, modules = _assigned("cerebellum", "_HOMES"), _assigned("cerebellum", "_MODULES")
    assert isinstance(homes, dict)
    assert isinstance(modules, set)
    return {name: f"{home}.{name}" for name, home in homes.items()}


def is_module(path: str) -> bool:
    """Whether a dotted path is that of a module."""
    place = ROOT / path.replace(".", "/")
    return place.is_dir() or place.with_suffix(".py").is_file()


@cache
def members(module: str) -> tuple[str, ...]:
    """The public names of a module, in its order."""
    listed = _assigned(module, "__all__")
    if isinstance(listed, list | tuple):
        return tuple(listed)
    names = []
    for node in _tree(module).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.append(node.name)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[0] if isinstance(node, ast.Assign) else node.target
            names.append(getattr(target, "id", "_"))
    return tuple(name for name in names if not name.startswith("_"))


def summary(module: str) -> str:
    """The docstring of a module."""
    return ast.get_docstring(_tree(module)) or ""


def _entry(path: str, label: str, level: int) -> str:
    options = f"heading_level: {level}\n      heading: {label}\n      toc_label: {label}"
    return f"::: {path}\n    options:\n      {options}\n"


def _section(path: str, label: str, level: int) -> list[str]:
    """The entries of a name: itself, or its members if it is a module."""
    if not is_module(path):
        return [_entry(path, label, level)]
    parts = [f"{'#' * level} {label} {{ #{path} }}", summary(path)]
    for name in members(path):
        parts += _section(f"{path}.{name}", f"{label}.{name}", level + 1)
    return parts


def index() -> str:
    """The first page of the reference: every name of `cb` with its page."""
    parts = ["# Reference", "Every public name, by subject. `cb` is `import cerebellum as cb`."]
    for name, about in PAGES.items():
        listed = ", ".join(f"`cb.{each}`" for each in about.names)
        parts.append(f"**[{about.title}]({name}.md)**: {about.intro} {listed}")
    return "\n\n".join(parts)


def page(name: str) -> str:
    """A page of the reference as Markdown."""
    about = PAGES[name]
    parts = [f"# {about.title}", f"{about.intro} `cb` is `import cerebellum as cb`."]
    for each in about.names:
        parts += _section(front_door()[each], f"cb.{each}", 2)
    shown = {f"{front_door()[each]}" for each in about.names}
    for module, purpose in about.modules.items():
        parts += [f"## {module} {{ #{module} }}", purpose]
        for each in members(module):
            path = f"{module}.{each}"
            if path not in shown and not is_module(path):
                parts.append(_entry(path, each, 3))
    return "\n\n".join(parts)


def anchors() -> dict[str, str]:
    """The page and anchor of every name as users write it, such as "cb.drive.poisson"."""
    found = {}

    def add(path: str, label: str, page: str) -> None:
        found[label] = f"api/{page}.md#{path}"
        if is_module(path):
            for name in members(path):
                add(f"{path}.{name}", f"{label}.{name}", page)

    for name, about in PAGES.items():
        for each in about.names:
            add(front_door()[each], f"cb.{each}", name)
    return found
