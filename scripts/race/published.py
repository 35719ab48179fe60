"""Published numbers of the cortical microcircuit at full density with Poisson input.

By population in the order of `potjans.SIZES`: L23E, L23I, L4E, L4I, L5E, L5I, L6E, L6I.
"""

RATES_HZ = {
    "oldest": (0.971, 2.868, 4.746, 5.396, 8.142, 9.078, 0.991, 7.523),
    "older": (0.943, 3.026, 4.368, 5.882, 7.733, 8.664, 1.096, 7.851),
    "now": (0.903, 2.965, 4.414, 5.876, 7.569, 8.633, 1.105, 7.829),
}
"""Mean rates, `full_mean_rates`, of three versions of the reference implementation (PyNEST), one
run each. Its authors say that one run does not suffice to verify another implementation."""

NETPYNE_CV = (0.936, 0.916, 0.890, 0.875, 0.847, 0.809, 0.926, 0.822)
NETPYNE_CV_SD = (0.146, 0.106, 0.107, 0.101, 0.107, 0.118, 0.142, 0.125)
"""Mean CV of intervals of ten runs of 60 s of about 1,000 cells a population, in NetPyNE, and the
standard deviation over cells: Romaro et al. 2021, doi:10.1162/neco_a_01400, Table A.3."""

NETPYNE_SYNCHRONY = (2.9, 1.8, 3.0, 1.7, 4.4, 1.1, 1.2, 1.0)
"""Synchrony of one run of 60 s in NetPyNE: the same, Table A.5."""

DISTANCES = {
    "rate": (0.02, 0.02, 0.01, 0.01, 0.02, 0.03, 0.02, 0.02),
    "cv": (0.01, 0.02, 0.01, 0.01, 0.02, 0.03, 0.01, 0.02),
    "correlation": (0.05, 0.04, 0.05, 0.02, 0.06, 0.02, 0.04, 0.02),
}
"""Mean distance of Kolmogorov and Smirnov between two of ten networks of the reference
implementation, 900 s each: figures of PyNEST/reference_data of INM-6/microcircuit-PD14-model, where
they are printed with two digits. The distributions themselves are published as pictures only."""
