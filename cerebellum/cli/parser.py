"""The parser of the command line: its flags, and the commands that run circuits."""

import argparse

from cerebellum.cli import parser_checkpoints, parser_learning
from cerebellum.cli.arguments import Parser, count, devices, positive, seed, window


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line."""
    top = Parser(prog="cerebellar-norse", description="A cerebellum that people can run.")
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
    parser_learning.add(commands)
    parser_checkpoints.add(commands)
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
        type=positive,
        default=1000.0,
        metavar="MS",
        help="simulated time (default: %(default)s)",
    )
    simulate.add_argument(
        "--dt-ms",
        type=positive,
        default=None,
        metavar="MS",
        help="time step (default: the preset's)",
    )
    simulate.add_argument(
        "--seed", type=seed, default=None, help="random seed of wiring and noise (default: 0)"
    )
    simulate.add_argument(
        "--window",
        type=window,
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
        type=positive,
        metavar="MS",
        help="save them at this interval of simulated time, so that the run can be resumed",
    )
    simulate.add_argument(
        "--resume", action="store_true", help="resume from the newest checkpoint in --out"
    )
    devices(simulate, "a circuit's beams")
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
        type=seed,
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
        "--kernels",
        choices=("cuda", "cuda-step", "native", "xla"),
        help="backend of networks (default: all that this machine can use)",
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
        type=count,
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
