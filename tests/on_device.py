"""A plugin of pytest for the laws of backends on a GPU (`cerebellum.bench.gpu.laws`).

It sets what `conftest.py` sets and the laws need, without what that needs: the machine may lack the
packages of the service.
"""

import hypothesis
import jax

jax.config.update("jax_numpy_rank_promotion", "raise")
hypothesis.settings.register_profile("device", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("device")
