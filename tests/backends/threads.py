"""What a program prints, whose native kernels have some threads."""

import os
import subprocess
import sys


def printed(program: str, threads: int) -> str:
    """The standard output of a Python program, in a process of its own."""
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, "-c", program]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    return done.stdout
