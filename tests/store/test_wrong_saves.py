"""What a store refuses at once: a policy, a step, an array or a path that cannot be right."""

import logging
import math

import jax.numpy as jnp
import numpy as np
import pytest

from cerebellum import store
from cerebellum.errors import UsageError


@pytest.mark.parametrize("name", ["newest", "every"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True, "5", math.nan])
def test_a_policy_that_counts_nothing_is_refused(name, value):
    with pytest.raises(UsageError, match=rf"^{name}: .*; a whole number, at least 1$"):
        store.Retention(**{name: value})


@pytest.mark.parametrize("value", [5, "", "-", ("loss",)])
def test_a_best_that_is_no_name_is_refused(value):
    with pytest.raises(UsageError, match=r"^best: .*; the name of a metric"):
        store.Retention(best=value)


@pytest.mark.parametrize("best", ["loss", "-loss"])
@pytest.mark.parametrize("wrong", [math.nan, math.inf, -math.inf, "0.1", None, True, [1.0]])
def test_the_best_stays_whatever_comes_after_it(tmp_path, best, wrong):
    """A training run that diverges does not cost the best checkpoint."""
    retention = store.Retention(newest=1, best=best)
    for step, value in enumerate([0.5, wrong, wrong], start=1):
        store.write(tmp_path, step, {"x": np.zeros(1)}, metrics={"loss": value})
    kept = retention.select(store.steps(tmp_path))
    assert sorted(int(path.name) for path in kept) == [1, 3]


def test_a_metric_that_is_not_there_is_said_once(tmp_path, caplog):
    retention = store.Retention(newest=2, best="-acuracy")
    checkpoints = store.Store(tmp_path, retention=retention, beside=False)
    checkpoints.save(1, {"x": np.zeros(1)})
    assert not caplog.records
    for step in (2, 3):
        checkpoints.save(step, {"x": np.zeros(1)}, metrics={"accuracy": 0.5, "loss": 1.0})
    checkpoints.close()
    assert [record.getMessage() for record in caplog.records] == [
        "checkpoint 2: no metric 'acuracy', by which the best one is to stay; it has accuracy, loss"
    ]


@pytest.mark.parametrize("beside", [True, False])
@pytest.mark.parametrize("step", [None, 1.5, True, "7", -1, 10**13, np.nan])
def test_a_step_that_names_no_checkpoint_is_refused_at_once(tmp_path, caplog, step, beside):
    caplog.set_level(logging.DEBUG, "cerebellum")
    checkpoints = store.Store(tmp_path, beside=beside)
    for save in (checkpoints.save, checkpoints.save_last):
        with pytest.raises(UsageError, match=r"^step: .*; a whole number from 0 to 12 digits$"):
            save(step, {"x": np.zeros(1)})
    checkpoints.close()
    assert not caplog.records
    assert not checkpoints.failures
    assert not store.steps(tmp_path)


@pytest.mark.parametrize("step", [7, np.int32(7), np.array(7), jnp.int32(7)])
def test_every_kind_of_whole_number_is_a_step(tmp_path, step):
    assert store.write(tmp_path, step, {"x": np.zeros(1)}).name == "000000000007"


@pytest.mark.parametrize("beside", [True, False])
def test_a_donated_state_is_refused_at_once(tmp_path, beside):
    used_up = jnp.zeros(3)
    used_up.delete()
    checkpoints = store.Store(tmp_path, beside=beside)
    with pytest.raises(UsageError, match=r"^state/v: given to a run, .* that the run returned$"):
        checkpoints.save(1, {"state": {"v": used_up}})
    checkpoints.close()


def test_a_checkpoint_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"^checkpoint: '.*/none'; a folder that is there$"):
        store.load(tmp_path / "none")
