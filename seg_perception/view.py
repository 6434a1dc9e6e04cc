"""``seg-perception view``: a running system, a bag or a replay in the browser, without RViz."""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

from seg_perception.core.errors import ParameterError, SourceError


def add_commands(subparsers: argparse._SubParsersAction) -> None:
    """Register ``view``."""
    parser = subparsers.add_parser(
        'view',
        help='image, mask, grid and objects in the browser: live, or of a bag or replay',
        description='Opens the Rerun viewer (pip install rerun-sdk) as a web page. Without a '
        'path it shows the running system; with one a bag, or the output folder of a replay '
        'together with the bag that was replayed.',
    )
    parser.add_argument('path', nargs='?', type=Path, help='bag, or output folder of a replay')
    parser.add_argument('--topic', action='append', default=[], help='only these topics')
    parser.add_argument('--rate', type=float, default=10.0, help='live: pictures a second')
    parser.add_argument('--port', type=int, default=9090, help='of the page; data: the next one')
    parser.add_argument('--no-browser', action='store_true', help='print the address only')
    parser.add_argument('--save', type=Path, metavar='FILE.rrd', help='write a file instead')
    parser.add_argument('--duration', type=float, default=0.0, help='live: end after s (0: never)')
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Show it; returns the exit code."""
    from seg_perception.ros.rerun_viewer import RerunViewer

    if args.path is not None and not args.path.exists():
        raise SourceError(f'{args.path}: no such bag or replay')
    if not 1 <= args.port < 65535:
        raise ParameterError(f'--port {args.port}: use one from 1 to 65534 (data: the next one)')
    title = args.path.resolve().name if args.path else 'live'
    viewer = RerunViewer(title, save=args.save, port=args.port, open_browser=not args.no_browser)
    if viewer.url:
        print(f'open {viewer.url}')
    if args.path is None:
        return _live(viewer, args)
    shown = show_recording(viewer, args.path, args.topic)
    viewer.flush()
    print(f'{shown} messages' + (f' in {args.save}' if args.save else '; Ctrl-C ends the page'))
    while not args.save:
        time.sleep(1.0)  # the page is served from this process
    return 0


def show_recording(viewer: Any, path: Path, topics: list[str] | None = None) -> int:
    """Hand a bag's messages to the viewer, or a replay's and its input's, by recording time.

    Args:
        viewer: takes them.
        path: a bag, or the output folder of a replay.
        topics: only these; empty = all that the viewer knows.

    Returns:
        How many were shown.

    Raises:
        SourceError: neither can be read.
    """
    import heapq

    from seg_perception.ros.bag_reader import BagReader
    from seg_perception.ros.rerun_viewer import CLASSES, role_of

    shown, readers = 0, [BagReader(bag, print) for bag in _bags_of(path)]
    streams = []
    for reader in readers:
        wanted = {t.name for t in reader.topics if role_of(t.name, t.type)}
        streams.append(reader.messages(wanted & set(topics) if topics else wanted))
    for recorded in heapq.merge(*streams, key=lambda message: message.log_ns):
        try:
            message = recorded.read(CLASSES[recorded.type])
        except SourceError:
            continue  # a broken message is not shown
        viewer.show(recorded.topic, role_of(recorded.topic, recorded.type), message)
        shown += 1
    if not shown:
        raise SourceError(f'{path}: nothing in it that the viewer shows')
    return shown


def _bags_of(path: Path) -> list[Path]:
    """The bag itself; of a replay the bag that was read and the one that was written."""
    result = path / 'result.json'
    if not result.is_file():
        replays = sorted(folder.parent for folder in path.glob('bags/*/result.json'))
        if replays:
            names = ', '.join(str(replay) for replay in replays)
            raise SourceError(f'{path}: the replay of several bags; name one of {names}')
        if path.is_dir() and not any(
            f.suffix in ('.yaml', '.mcap', '.db3') for f in path.iterdir()
        ):
            raise SourceError(
                f'{path}: neither a rosbag2 (metadata.yaml, .mcap or .db3) nor the output of '
                '`seg-perception replay`'
            )
        return [path]
    source = Path(json.loads(result.read_text(encoding='utf-8'))['asked']['bag']['path'])
    if not source.exists():
        print(f'{source} is gone: the pictures themselves are not shown')
        return [path / 'bag']
    return [source, path / 'bag']


def _live(viewer: Any, args: argparse.Namespace) -> int:
    import rclpy
    from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor

    from seg_perception.nodes.view_node import ViewNode
    from seg_perception.ros.transport import configure_transport

    configure_transport()
    rclpy.init()
    node = ViewNode(viewer, args.topic, args.rate)
    executor = SingleThreadedExecutor()
    executor.add_node(node)
    end = time.monotonic() + args.duration if args.duration > 0 else float('inf')
    try:
        while time.monotonic() < end:
            executor.spin_once(timeout_sec=0.2)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    finally:
        viewer.flush()
        for topic, count in sorted(node.shown.items()):
            print(f'  {topic}: {count}')
        executor.shutdown()
        node.destroy_node()
        rclpy.try_shutdown()
    return 0
