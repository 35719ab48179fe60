"""The program `cerebellar-norse`: it parses the arguments, runs a command, returns the exit code.

Only the standard library is imported before the command is known, so that `--help` is fast.
Exit codes: 0 success, 1 the command failed, 2 wrong usage.
"""

import argparse
import math
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from cerebellum import compiled, parts, xla
from cerebellum.errors import FailedError, UsageError

BROKEN_PIPE = 141
"""The exit code where nobody reads the output any more: a shell's for SIGPIPE."""


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (value > 0 and math.isfinite(value)):
        raise argparse.ArgumentTypeError(f"{text!r}; a number above zero")
    return value


def _window(text: str) -> tuple[str, float, float]:
    try:
        name, start, stop = text.split(":")
        window = name, float(start), float(stop)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}; NAME:START:STOP in ms") from None
    if not name or not 0 <= window[1] < window[2] < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r}; NAME:START:STOP in ms, START before STOP")
    return window


class _Parser(argparse.ArgumentParser):
    """A parser that reports an error in one line; argparse would print the usage before it."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: {message}\n")


def _seed(text: str) -> int:
    if not text.isdecimal() or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text!r}; an integer from 0 to 2**32 - 1")
    return int(text)


def _count(text: str) -> int:
    if not text.isdecimal() or not 1 <= int(text) <= 100_000:
        raise argparse.ArgumentTypeError(f"{text!r}; an integer from 1 to 100,000")
    return int(text)


def _devices(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the flags of a command that can run on many devices.

    Args:
      what: what is divided among the devices, for the help text.
    """
    group = parser.add_argument_group(
        "many devices",
        "Each process of a run is started with the same command but for --process; the folder of "
        "results is one that all of them see.",
    )
    group.add_argument(
        "--devices",
        type=int,
        metavar="N",
        help=f"divide {what} among so many devices, of all processes together "
        "(default: one, or all that the processes have)",
    )
    group.add_argument(
        "--coordinator", metavar="HOST:PORT", help="where process 0 listens, for all the same"
    )
    group.add_argument("--processes", type=int, metavar="N", help="how many there are")
    group.add_argument("--process", type=int, metavar="I", help="which one this is, from 0 on")


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = _Parser(prog="cerebellar-norse", description="A cerebellum that people can run.")
    top.add_argument("--config", metavar="FILE", help="configuration in TOML")
    top.add_argument(
        "--version", action="store_true", help="print the version, and a digest of the program"
    )
    top.add_argument(
        "--validate-only",
        "--validate-config",
        action="store_true",
        help="check the configuration, and whether it would run on this machine",
    )
    top.add_argument(
        "--dump-schema", action="store_true", help="print the JSON Schema of the configuration"
    )
    top.add_argument(
        "--verify-data",
        metavar="DIR",
        help="read every checkpoint, backup and training table below DIR; name each bad file",
    )
    top.add_argument(
        "--validate-model",
        metavar="DIR",
        help="check that a model is intact, finite, of its circuit's shapes, and fires plausibly",
    )
    top.add_argument(
        "--dump-weights",
        action="store_true",
        help="print the distribution of each projection's weights, as JSON lines",
    )
    top.add_argument(
        "--model", metavar="DIR", help="the run of --dump-weights (default: an untrained circuit)"
    )
    commands = top.add_subparsers(title="commands", dest="command", metavar="COMMAND")

    _add_serve(commands)
    _add_simulate(commands)
    _add_reproduce(commands)
    _add_bench(commands)
    _add_profile(commands)
    _add_train(commands)
    _add_evaluate(commands)
    _add_checkpoints(commands)
    return top


def _add_serve(commands) -> None:
    serve = commands.add_parser(
        "serve",
        help="turn ticks into signals over HTTP",
        description="Serve: ticks of markets in, signals out, over HTTP on the loopback address. "
        "SIGTERM answers what was accepted, saves and exits 0. The same as --config FILE alone.",
        epilog="example: cerebellar-norse serve --config configs/development.toml",
    )
    serve.add_argument(
        "--config", dest="serve_config", metavar="FILE", help="configuration in TOML"
    )


def _add_simulate(commands) -> None:
    simulate = commands.add_parser(
        "simulate",
        help="run a circuit on a stimulus",
        description="Run a circuit on a stimulus. Prints population rates beside reference rates, "
        "and writes the recording, what made it, a raster and a rate picture to a directory.",
        epilog="example: cerebellar-norse simulate --preset mouse --stimulus burst --out out/mouse",
    )
    simulate.add_argument(
        "--preset",
        default=None,
        help="the circuit: beams, mouse, mouse-eglif or mouse-eglif-awake (default: beams)",
    )
    simulate.add_argument(
        "--config",
        dest="simulate_config",
        metavar="FILE",
        help="configuration of a beams circuit in TOML",
    )
    simulate.add_argument(
        "--granule-size", type=int, metavar="N", help="granule cells of a beams circuit"
    )
    simulate.add_argument(
        "--stimulus",
        default="burst",
        metavar="background|burst|FILE.npz",
        help="Poisson background; background with a burst; or spikes from an npz with the arrays "
        "neuron and time_ms (default: %(default)s)",
    )
    simulate.add_argument(
        "--duration-ms",
        type=_positive,
        default=1000.0,
        metavar="MS",
        help="simulated time (default: %(default)s)",
    )
    simulate.add_argument(
        "--dt-ms",
        type=_positive,
        default=None,
        metavar="MS",
        help="time step (default: the preset's)",
    )
    simulate.add_argument(
        "--seed", type=_seed, default=None, help="random seed of wiring and noise (default: 0)"
    )
    simulate.add_argument(
        "--window",
        type=_window,
        action="append",
        metavar="NAME:START:STOP",
        help="report rates between two times, ms; may be repeated (default: the preset's)",
    )
    _simulate_results(simulate)


def _simulate_results(simulate: argparse.ArgumentParser) -> None:
    """Add the flags about results, checkpoints and resuming."""
    simulate.add_argument(
        "--out",
        metavar="DIR",
        default="results/simulate",
        help="directory of results (default: %(default)s)",
    )
    simulate.add_argument(
        "--format",
        action="append",
        default=[],
        choices=("csv", "nwb", "sonata"),
        help="write the recording in this format, too; may be repeated",
    )
    simulate.add_argument("--no-plots", action="store_true", help="draw no pictures")
    simulate.add_argument(
        "--checkpoint",
        action="store_true",
        help="save the circuit and its last state in the results",
    )
    simulate.add_argument(
        "--checkpoint-ms",
        type=_positive,
        metavar="MS",
        help="save them at this interval of simulated time, so that the run can be resumed",
    )
    simulate.add_argument(
        "--resume", action="store_true", help="resume from the newest checkpoint in --out"
    )
    _devices(simulate, "a circuit's beams")
    simulate.add_argument(
        "--json", action="store_true", help="print only one JSON document on standard output"
    )


def _add_reproduce(commands) -> None:
    reproduce = commands.add_parser(
        "reproduce",
        help="run a published protocol and print measured next to published values",
        description="Run a published protocol and print measured beside published values, with "
        "their source. Writes pictures and the result to a directory. Exits 1 where a value is "
        "outside its tolerance.",
        epilog="example: cerebellar-norse reproduce eglif-cells",
    )
    reproduce.add_argument("name", nargs="?", metavar="NAME", help="see --list")
    reproduce.add_argument("--list", action="store_true", help="list the protocols")
    reproduce.add_argument(
        "--seed",
        type=_seed,
        default=None,
        help="random seed of the first circuit (default: as reported)",
    )
    reproduce.add_argument(
        "--out",
        metavar="DIR",
        default=None,
        help="directory of results (default: results/reproduce/NAME)",
    )
    reproduce.add_argument(
        "--json", action="store_true", help="print only one JSON document on standard output"
    )


def _add_bench(commands) -> None:
    bench = commands.add_parser(
        "bench",
        help="run benchmarks, save the times, compare them",
        description="Time neuron models, propagation, whole circuits and their start, each beside "
        "what the machine's memory allows. Exits 1 where something got slower than a baseline.",
        epilog="example: cerebellar-norse bench network --size M --baseline before",
    )
    bench.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help="neuron_step, propagation, network, scaling, latency, start (default: all)",
    )
    bench.add_argument(
        "--size",
        action="append",
        choices=("S", "M", "L", "production"),
        help="of networks; may be repeated (default: S and M)",
    )
    bench.add_argument(
        "--network", choices=("common", "anatomical"), help="the wiring of networks (default: both)"
    )
    bench.add_argument(
        "--kernels", choices=("native", "xla"), help="backend of networks (default: both)"
    )
    bench.add_argument(
        "--cores",
        type=int,
        default=1,
        metavar="N",
        help="number of cores to use (default: %(default)s)",
    )
    bench.add_argument("--save-baseline", metavar="NAME", help="save the results under a name")
    bench.add_argument("--baseline", metavar="NAME", help="compare with results that were saved")
    bench.add_argument(
        "--json", action="store_true", help="print only one JSON document on standard output"
    )


def _add_profile(commands) -> None:
    profile = commands.add_parser(
        "profile",
        help="measure where the time and the memory of some ticks go",
        description="Run some ticks through what the service would serve; write a profiler trace "
        "(open it in Perfetto), a device-memory profile (pprof) and a table of parts.",
        epilog="example: cerebellar-norse profile --config configs/development.toml",
    )
    profile.add_argument(
        "--config", dest="profile_config", metavar="FILE", help="configuration in TOML"
    )
    profile.add_argument(
        "--ticks",
        type=_count,
        default=100,
        metavar="N",
        help="number of ticks (default: %(default)s)",
    )
    profile.add_argument(
        "--out",
        metavar="DIR",
        default="results/profile",
        help="directory of results (default: %(default)s)",
    )
    profile.add_argument("--json", action="store_true", help="print only one JSON document")


def _add_train(commands) -> None:
    train = commands.add_parser(
        "train",
        help="learn from files of ticks; the run can be resumed",
        description="Learn to predict a market from CSV files of ticks (columns timestamp, price, "
        "volume, and where there are some bid, ask, bid_size, ask_size, signed_volume or side). "
        "Trains on the first 70 %, selects on the next 20 % (training.validation_split) and never "
        "uses the last 10 %. SIGTERM saves and exits 0.",
        epilog="example: cerebellar-norse train --data ticks.csv.gz --out results/train",
    )
    train.add_argument("--data", metavar="FILE|DIR|GLOB", help="ticks (default: training.data)")
    train.add_argument(
        "--task",
        choices=("event", "h10"),
        default="event",
        help="the next change's direction, or ten ticks ahead (default: %(default)s)",
    )
    train.add_argument("--out", metavar="RUN", required=True, help="the run's directory")
    train.add_argument(
        "--config",
        dest="train_config",
        metavar="FILE",
        help="configuration; names the circuit's size, which is small by default",
    )
    train.add_argument(
        "--method",
        choices=("climbing_fiber", "surrogate_gradient", "hybrid", "stdp"),
        help="the method of learning",
    )
    train.add_argument("--epochs", type=int, metavar="N", help="passes over the data")
    train.add_argument("--seed", type=_seed, default=None, help="random seed of wiring and noise")
    train.add_argument("--resume", action="store_true", help="resume from RUN's newest checkpoint")
    _devices(train, "each batch")
    train.add_argument("--no-plots", action="store_true", help="draw no pictures")
    train.add_argument("--json", action="store_true", help="print only one JSON document")


def _add_evaluate(commands) -> None:
    evaluate = commands.add_parser(
        "evaluate",
        help="score a trained model next to simple baselines",
        description="Score a trained model on ticks that it has not seen, next to the majority, "
        "the last change's sign and logistic regression on the same features.",
        epilog="example: cerebellar-norse evaluate --model results/train --data ticks.csv.gz",
    )
    evaluate.add_argument(
        "--model", metavar="RUN", required=True, help="directory of a training run"
    )
    evaluate.add_argument("--data", metavar="FILE|DIR|GLOB", required=True, help="ticks")
    evaluate.add_argument(
        "--task", choices=("event", "h10"), help="the task (default: the model's)"
    )
    evaluate.add_argument(
        "--split",
        choices=("test", "all"),
        default="test",
        help="the last 10 %%, or everything (default: %(default)s)",
    )
    evaluate.add_argument(
        "--online", action="store_true", help="learn from each outcome when it is known"
    )
    evaluate.add_argument(
        "--out", metavar="DIR", help="directory of results (default: RUN/evaluation)"
    )
    evaluate.add_argument("--no-plots", action="store_true", help="draw no pictures")
    evaluate.add_argument("--json", action="store_true", help="print only one JSON document")


def _add_checkpoints(commands) -> None:
    checkpoints = commands.add_parser(
        "checkpoints",
        help="list a run's checkpoints and whether each is intact",
        description="List a run's checkpoints, newest first. Every file of each is read. Exits 1 "
        "where one is not intact.",
        epilog="example: cerebellar-norse checkpoints results/simulate",
    )
    checkpoints.add_argument("run", metavar="RUN", help="a run's directory")
    checkpoints.add_argument("--json", action="store_true", help="print only one JSON document")
    backup = commands.add_parser(
        "backup",
        help="back up a run's newest intact checkpoint",
        description="Copy a run's newest intact checkpoint and verify the copy, also while the "
        "run goes on.",
        epilog="example: cerebellar-norse backup results/train /backup/cerebellar-norse",
    )
    backup.add_argument("run", metavar="RUN", help="a run's directory")
    backup.add_argument(
        "target",
        nargs="?",
        metavar="DIR",
        help="a directory for backups (default: storage.backups of --config)",
    )
    backup.add_argument(
        "--config", dest="backup_config", metavar="FILE", help="configuration in TOML"
    )
    restore = commands.add_parser(
        "restore",
        help="restore a checkpoint, or write its arrays as npz",
        description="Restore a checkpoint into a run's directory, verified before and after, or "
        "write its arrays for NumPy. Needs no configuration.",
        epilog="example: cerebellar-norse restore /backup/cerebellar-norse results/train --force",
    )
    restore.add_argument("source", metavar="SOURCE", help="a backup, a run, or one checkpoint")
    restore.add_argument("target", metavar="TARGET", help="a run's directory, or FILE.npz")
    restore.add_argument(
        "--step", type=int, metavar="N", help="which checkpoint (default: the newest intact one)"
    )
    restore.add_argument(
        "--force", action="store_true", help="set aside checkpoints that TARGET has"
    )
    restore.add_argument(
        "--weight-dtype",
        choices=("float32", "uint16"),
        help="convert plastic weights to this type, and print what that changed",
    )
    restore.add_argument(
        "--only",
        metavar="NAME",
        help="restore only these arrays, into FILE.npz or into TARGET's newest checkpoint: params, "
        "state, or a projection or population",
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Run the program; returns its exit code."""
    top = parser()
    arguments = top.parse_args(argv)
    try:
        code = _run(top, arguments)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Whoever read the output has ended, as `head` does. Python would flush the rest at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return BROKEN_PIPE
    except (UsageError, FailedError) as error:
        for line in str(error).splitlines():
            print(f"cerebellar-norse: {line}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except KeyboardInterrupt:
        print("cerebellar-norse: interrupted", file=sys.stderr)
        return 1


def _run(top: argparse.ArgumentParser, arguments: argparse.Namespace) -> int:
    """Run the command that the arguments name; returns the exit code."""
    name = _command_name(arguments)
    if name is None:
        top.print_help()
        return 0
    command_config = getattr(arguments, f"{name}_config", None)
    if command_config is not None:
        arguments.config = command_config
    parts.need(name, *_PARTS.get(name, ()))
    if name in _COMPILING:
        compiled.for_programs()
    return _COMMANDS[name](arguments)


def _command_name(arguments: argparse.Namespace) -> str | None:
    """The key in the table of commands; None where the arguments name no command.

    Flags that stand for a command come before `serve`, which is also what --config alone means.
    """
    if arguments.version:
        return "--version"
    if arguments.dump_schema:
        return "--dump-schema"
    if arguments.validate_only:
        return "--validate-only"
    if arguments.command not in (None, "serve"):
        return arguments.command
    for flag in ("verify_data", "validate_model", "dump_weights"):
        if getattr(arguments, flag):
            return "--" + flag.replace("_", "-")
    if arguments.command == "serve" or arguments.config is not None:
        return "serve"
    return None


def _version(arguments: argparse.Namespace) -> int:
    from cerebellum import program

    print(f"cerebellar-norse {program.__version__}, source {program.digest()}")
    return 0


def _dump_schema(arguments: argparse.Namespace) -> int:
    import json

    from cerebellum import config

    print(json.dumps(config.schema(), indent=1))
    return 0


def _validate(arguments: argparse.Namespace) -> int:
    if arguments.config is None:
        raise UsageError("--validate-only: nothing to validate; --config FILE")
    # A check reserves no memory of a GPU: the service may be using it.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    from cerebellum import config
    from cerebellum.service import check

    problems = check.validate(arguments.config)
    if problems:
        raise UsageError("\n".join(problems))
    for line in check.notes(config.load(arguments.config)):
        print(f"cerebellar-norse: {line}", file=sys.stderr)
    print(f"{arguments.config}: valid")
    return 0


def _serve(arguments: argparse.Namespace) -> int:
    from cerebellum import system

    system.need_posix("serve")
    # Until the service can reread its configuration, which takes seconds: SIGHUP would end it.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    xla.one_thread()
    from cerebellum.service import serve

    return serve.run(arguments.config)


def _simulate(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import simulate

    return simulate.run(arguments)


def _reproduce(arguments: argparse.Namespace) -> int:
    if not arguments.list:
        xla.one_thread()
    from cerebellum.reproduce import program

    return program.run(arguments)


def _bench(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.bench import program

    return program.run(arguments)


def _profile(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import profile

    return profile.run(arguments)


def _train(arguments: argparse.Namespace) -> int:
    from cerebellum.cli import train

    return train.run(arguments)


def _evaluate(arguments: argparse.Namespace) -> int:
    from cerebellum.cli import evaluate

    return evaluate.run(arguments)


def _manage_checkpoints(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import checkpoints

    return checkpoints.run(arguments)


def _inspect(arguments: argparse.Namespace) -> int:
    xla.one_thread()
    from cerebellum.cli import checkpoints

    return checkpoints.inspect(arguments)


_COMMANDS: dict[str, Callable[[argparse.Namespace], int]] = {
    "--version": _version,
    "--dump-schema": _dump_schema,
    "--validate-only": _validate,
    "--verify-data": _inspect,
    "--validate-model": _inspect,
    "--dump-weights": _inspect,
    "serve": _serve,
    "simulate": _simulate,
    "reproduce": _reproduce,
    "bench": _bench,
    "profile": _profile,
    "train": _train,
    "evaluate": _evaluate,
    "checkpoints": _manage_checkpoints,
    "backup": _manage_checkpoints,
    "restore": _manage_checkpoints,
}
"""What runs each command. A command imports its modules itself, when it is run."""

_PARTS = {
    "--validate-only": ("service",),
    "serve": ("service",),
    "train": ("ticks",),
    "evaluate": ("ticks", "eval"),
}
"""Parts of the distribution without which a command does not start."""

_COMPILING = ("serve", "simulate", "reproduce", "train", "evaluate")
"""Commands that keep what they compile for the next time; `bench` and `profile` measure it."""


if __name__ == "__main__":
    sys.exit(main())
