"""What is measured, the most important first, and the bars and goals that it is held against."""

from dataclasses import dataclass

ANEW = 3
"""Exit code of a process whose case has failed: the device may then fail every other."""

PATHS = ("cuda", "cuda-step", "xla")
"""Backends: many steps in one launch where possible, CUDA kernels step by step, XLA alone."""

RATES = (1.0, 2.0, 5.0)
"""Rates of granule cells, Hz, that the drive of a circuit is set for."""

CIRCUITS = {
    "production": (0, 200, 500, 2_000),
    "mouse": (1, 1_000, 2_000, 2_000),
    "mouse-eglif": (1, 1_000, 2_000, 2_000),
    "M-random": (2, 1_000, 2_000, 2_000),
    "M-anatomical": (2, 1_000, 2_000, 2_000),
    "L-random": (3, 500, 1_000, 2_000),
    "L-anatomical": (3, 500, 1_000, 2_000),
}
"""The process that runs a circuit, and the steps of a timed call on "xla", "cuda-step", "cuda"."""

WORK = {
    "service": ("service", "us a tick"),
    "bptt-100-300-100": ("bptt", "us an update"),
    "bptt-1000-10000-100": ("bptt", "us an update"),
    "training": ("training", "us an update"),
}
"""What is not a step of a circuit: its kind, and what its time is of."""


@dataclass(frozen=True)
class Case:
    """One program, which is compiled once and measured at one rate or several."""

    subject: str
    """a circuit, or a key of `WORK`"""
    path: str
    """a name in `backends.BACKENDS`"""
    learning: bool = False
    limit_s: float = 45.0
    """Seconds after which it is ended, compiling included."""

    @property
    def name(self) -> str:
        if self.subject in WORK:
            return f"{self.subject} {self.path}"
        return f"{self.subject} {'on' if self.learning else 'off'} {self.path}"

    @property
    def group(self) -> str:
        """Cases of one group run in one process."""
        return str(CIRCUITS[self.subject][0]) if self.subject in CIRCUITS else self.subject

    def steps(self, quick: bool) -> int:
        """Steps of a timed call of a circuit."""
        if quick:
            return 40
        _, xla, single, many = CIRCUITS[self.subject]
        return {"cuda": many, "cuda-step": single}.get(self.path, xla)


def cases(paths: tuple[str, ...] = PATHS) -> list[Case]:
    """Every case, in the order in which they run."""
    those = [
        Case("production", path, learning, 60.0) for learning in (False, True) for path in paths
    ]
    those += [Case(circuit, path) for circuit in ("mouse", "mouse-eglif") for path in paths]
    those += [Case(circuit, path) for circuit in ("M-random", "M-anatomical") for path in paths]
    those += [Case("service", path) for path in paths if path != "cuda-step"]
    those += [Case(circuit, path) for circuit in ("L-random", "L-anatomical") for path in paths]
    return those + [Case(work, "xla") for work in WORK if work != "service"]


def unit(subject: str) -> str:
    """What a time of a subject is of."""
    return WORK[subject][1] if subject in WORK else "us a step"


def bars(subject: str, learning: bool, path: str, rate: float | None) -> tuple[float, float] | None:
    """First bar and goal on an H200, us; None where there is none."""
    return BARS.get((subject, learning, path, rate)) or BARS.get((subject, learning, path, None))


BARS: dict[tuple[str, bool, str, float | None], tuple[float, float]] = {
    ("production", False, "xla", 1.0): (400, 150),
    ("production", False, "cuda-step", 1.0): (120, 60),
    ("production", False, "cuda", 1.0): (20, 10),
    ("production", True, "cuda", 1.0): (35, 15),
    ("production", False, "cuda", 5.0): (60, 20),
    ("M-random", False, "cuda-step", None): (40, 20),
    ("M-anatomical", False, "cuda-step", None): (40, 20),
    ("L-random", False, "cuda-step", None): (60, 30),
    ("L-anatomical", False, "cuda-step", None): (60, 30),
    ("M-random", False, "cuda", None): (40, 5),
    ("M-anatomical", False, "cuda", None): (40, 5),
    ("L-random", False, "cuda", None): (60, 10),
    ("L-anatomical", False, "cuda", None): (60, 10),
    ("mouse", False, "cuda-step", None): (100, 30),
    ("mouse-eglif", False, "cuda-step", None): (100, 50),
    ("service", False, "cuda", None): (1_000, 200),
}
"""First bar and goal, us, by subject, learning, path and rate (None: every rate)."""
