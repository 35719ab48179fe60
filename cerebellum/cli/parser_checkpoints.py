"""The parsers of `checkpoints`, `backup` and `restore`."""


def add(commands) -> None:
    """Add the commands that manage checkpoints."""
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
