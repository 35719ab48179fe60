"""Whether two runs are the same, bit for bit."""

import jax
import numpy as np

import cerebellum as cb


def host(tree):
    return jax.tree.map(np.asarray, tree)


def same(a, b) -> None:
    """Every array equal, bit for bit."""
    for (path, x), (_, y) in zip(
        jax.tree.leaves_with_path(a), jax.tree.leaves_with_path(b), strict=True
    ):
        np.testing.assert_array_equal(x, y, err_msg=jax.tree_util.keystr(path), strict=True)


def same_recording(a: cb.record.Recording, b: cb.record.Recording) -> None:
    same(a.spikes, b.spikes)
    same(a.counts, b.counts)
    for name, raster in a.rasters.items():
        same(vars(raster), vars(b.rasters[name]))
    for name, trace in a.traces.items():
        same(vars(trace), vars(b.traces[name]))
