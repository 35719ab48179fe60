"""The parsers of `train` and `evaluate`."""

from cerebellum.cli.arguments import devices, seed


def add(commands) -> None:
    """Add the commands that learn from ticks."""
    _add_train(commands)
    _add_evaluate(commands)


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
        help="the next change's direction, or ten ticks ahead (default: event, or the task of the "
        "run that --resume goes on with)",
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
    train.add_argument("--seed", type=seed, default=None, help="random seed of wiring and noise")
    train.add_argument("--resume", action="store_true", help="resume from RUN's newest checkpoint")
    devices(train, "each batch")
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
        "--out",
        metavar="DIR",
        help="directory of results (default: RUN/evaluation, RUN/evaluation-online and so on)",
    )
    evaluate.add_argument("--no-plots", action="store_true", help="draw no pictures")
    evaluate.add_argument("--json", action="store_true", help="print only one JSON document")
