"""The command ``seg-perception``: sub-commands registered by the rooms they belong to."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from seg_perception import __version__
from seg_perception.core.errors import SegPerceptionError


def build_parser() -> argparse.ArgumentParser:
    """Return the parser with every room's commands; each sets ``run``: args -> exit code."""
    # Imported here, and what is slow to import within each command.
    from seg_perception.demo import add_commands as add_demo
    from seg_perception.evaluation.commands import add_commands as add_evaluate
    from seg_perception.replay.commands import add_commands as add_replay
    from seg_perception.runtime.commands import add_commands as add_models
    from seg_perception.simulation.commands import add_commands as add_simulate
    from seg_perception.training.commands import add_commands as add_train
    from seg_perception.view import add_commands as add_view

    parser = argparse.ArgumentParser(
        prog='seg-perception', description='Camera frames in, masks and drivable grids out.'
    )
    parser.add_argument('--version', action='version', version=__version__)
    subparsers = parser.add_subparsers(title='commands', metavar='COMMAND', required=True)
    for add_commands in (
        add_demo,
        add_models,
        add_simulate,
        add_train,
        add_evaluate,
        add_replay,
        add_view,
    ):
        add_commands(subparsers)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command; return its exit code, 2 after an error the user can mend."""
    args = build_parser().parse_args(argv)
    try:
        return args.run(args)
    except SegPerceptionError as error:
        print(f'seg-perception: {error}', file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


if __name__ == '__main__':
    sys.exit(main())
