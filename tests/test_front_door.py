"""What a person meets first: names, help, tables, saving, and the cache of compiled programs."""

import os
import subprocess
import sys

import jax
import numpy as np
import pytest

import cerebellum as cb
from cerebellum import compiled
from cerebellum.documented import documented


@pytest.fixture(scope="module")
def circuit() -> cb.Circuit:
    return cb.build(cb.presets.mouse(scale=0.02), jax.random.key(0))


@pytest.mark.parametrize("name", cb.__all__)
def test_every_name_is_there(name):
    assert getattr(cb, name) is not None


def test_tasks_are_on_the_front_door():
    assert cb.tasks.eyeblink.condition.__module__ == "cerebellum.learn.tasks.eyeblink"
    assert callable(cb.tasks.vor.adapt)
    with pytest.raises(AttributeError, match="no attribute 'blink'"):
        _ = cb.tasks.blink


def test_training_on_arrays_is_on_the_front_door():
    assert cb.arrays.training.__module__ == "cerebellum.learn.arrays.optimise"
    assert cb.losses.cross_entropy.__module__ == "cerebellum.learn.losses"


def test_help_has_every_field_with_its_unit():
    for thing in (cb.Projection, cb.Population, cb.Spec):
        text = thing.__doc__
        for field in thing.__dataclass_fields__:
            assert f"\n  {field}: " in text
    for thing in (cb.drive.Poisson, cb.drive.SpikeTimes, cb.record.Recording, cb.record.Raster):
        assert "Fields:" in thing.__doc__
    assert "Hz, [K, N] or [K, 1]" in cb.drive.Poisson.__doc__
    assert "upper bound of plastic weights, in the unit of" in cb.Projection.__doc__
    assert "membrane capacitance, pF" in cb.neurons.conductance.Params.__doc__


def test_a_class_without_source_keeps_its_text():
    made = documented(type("Made", (), {"__doc__": "Made here."}))
    assert made.__doc__ == "Made here."


def test_a_seed_is_its_key(circuit):
    spec = cb.presets.mouse(scale=0.02)
    for one, other in (
        (circuit, cb.build(spec, 0)),
        (cb.init(circuit, jax.random.key(3)), cb.init(circuit, np.int64(3))),
    ):
        assert jax.tree.all(jax.tree.map(lambda a, b: (a == b).all(), one, other))


def test_a_circuit_is_a_short_table(circuit):
    text = repr(circuit)
    assert len(text.splitlines()) < 40
    assert "dt 0.1 ms" in text
    for population in circuit.spec.populations:
        assert population.name in text
    assert "granule_parallel_purkinje" in text
    assert f"{int((circuit.params.weights['golgi_granule'] > 0).sum())}" in text.replace(",", "")


def test_a_delay_that_is_drawn_is_shown_by_its_mean():
    relay = cb.neurons.relay.Params()
    cells = [cb.Population(name=n, size=9, model="relay", params=relay) for n in "AB"]
    link = cb.Projection(
        source="A",
        target="B",
        receptor="spikes",
        weight=1.0,
        delay=cb.Uniform(1.0, 4.0),
        in_degree=3,
    )
    spec = cb.Spec(name="drawn", populations=tuple(cells), projections=(link,))
    assert "about 2.5 ms" in repr(cb.build(spec, jax.random.key(0)))


def test_a_state_is_a_short_table_even_when_used_up(circuit):
    state = cb.init(circuit, jax.random.key(0))
    assert "State after 0 steps" in repr(state)
    batch = jax.vmap(cb.init, (None, 0))(circuit, jax.random.split(jax.random.key(0), 2))
    assert "leading axes [2]" in repr(batch)
    jax.tree.map(lambda x: x.delete(), state)
    assert "used it up" in repr(state)


def test_tables_can_be_shown_while_traced(circuit):
    shown = []
    jax.make_jaxpr(lambda c: shown.append(repr(c)) or c.params.weights["golgi_granule"])(circuit)
    assert shown[0].startswith("Circuit mouse")


def test_saving_says_what_is_wrong(circuit, tmp_path):
    state = cb.init(circuit, jax.random.key(0))
    with pytest.raises(cb.UsageError, match="no checkpoint; what store"):
        cb.store.load_circuit(tmp_path)
    with pytest.raises(cb.UsageError, match=r"state: Circuit; a cb\.State"):
        cb.store.save_circuit(tmp_path, circuit, circuit)
    path = cb.store.save_circuit(tmp_path, circuit, state)
    for folder in (path, tmp_path):
        _, again = cb.store.load_circuit(folder)
        assert jax.tree.structure(again) == jax.tree.structure(state)


PROGRAM = """
import warnings
from pathlib import Path
import cerebellum as cb
folder = cb.compilation_cache()
import jax
print(folder, jax.jit(lambda x: x + 1)(1), len(entries := list(folder.glob("*-cache"))) > 0)
for entry in entries:
    entry.write_bytes(entry.read_bytes()[:20])
jax.clear_caches()
warnings.simplefilter("ignore")
print(jax.jit(lambda x: x + 1)(1))
other = cb.compilation_cache(folder / "other")
print(jax.jit(lambda x: x + 2)(1), len(list(other.glob("*-cache"))) > 0)
"""


def test_programs_are_kept_in_the_cache_of_the_user(tmp_path):
    """And one that a process which died has left half-written is compiled anew.

    Another folder can take its place while the process runs.
    """
    own = {"JAX_COMPILATION_CACHE_DIR": "", "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    environment = {**os.environ, **own, "XDG_CACHE_HOME": str(tmp_path)}
    command = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    (folder,) = (tmp_path / "cerebellum").glob("compiled-*")
    assert done.stdout.split() == [str(folder), "2", "True", "2", "3", "True"]


def test_a_folder_that_cannot_be_written_costs_one_line(tmp_path, monkeypatch, caplog):
    switched = []
    monkeypatch.setattr(compiled, "_switch_on", switched.append)
    (tmp_path / "file").touch()
    assert cb.compilation_cache(tmp_path / "file" / "cache") is None
    assert [each.levelname for each in caplog.records] == ["WARNING"]
    assert "Not a directory; programs are compiled anew" in caplog.text
    assert not switched
    assert cb.compilation_cache(tmp_path / "cache") == tmp_path / "cache"
    assert switched[0]["JAX_COMPILATION_CACHE_DIR"] == str(tmp_path / "cache")


def test_the_command_line_can_be_told_not_to(monkeypatch):
    called = []
    monkeypatch.setattr(compiled, "compilation_cache", called.append)
    monkeypatch.setenv(compiled.VARIABLE, "off")
    compiled.for_programs()
    assert not called
    monkeypatch.setenv(compiled.VARIABLE, "")
    compiled.for_programs()
    monkeypatch.setenv(compiled.VARIABLE, "/elsewhere")
    compiled.for_programs()
    assert called == [None, "/elsewhere"]


def test_the_oldest_programs_go_when_there_are_too_many(tmp_path, monkeypatch):
    monkeypatch.setattr(compiled, "MOST_BYTES", 400)
    for age in range(5):
        entry = tmp_path / f"{age}-cache"
        entry.write_bytes(b"x" * 100)
        os.utime(entry, (1_000 - age, 1_000 - age))
    compiled._tidy(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["0-cache", "1-cache"]
