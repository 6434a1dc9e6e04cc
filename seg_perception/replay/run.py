"""One bag through the pipeline: every frame in order, a bag and a result out."""

from __future__ import annotations

import dataclasses
import json
import shutil
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np

from seg_perception import __version__
from seg_perception.core.errors import ParameterError, SourceError
from seg_perception.core.files import write_whole
from seg_perception.core.labels import LabelSet
from seg_perception.core.results import SemanticResult
from seg_perception.evaluation.temporal import Motion, small_grey
from seg_perception.replay.exhibit import Exhibit
from seg_perception.replay.model_run import LoadedModel, ModelRun
from seg_perception.replay.objects import ObjectRun
from seg_perception.replay.options import ReplayOptions
from seg_perception.replay.outputs import ModelOutputs, Prefixes
from seg_perception.replay.truth import Truth
from seg_perception.ros.bag_cameras import BagFrame, CameraFrames, find_cameras
from seg_perception.ros.bag_reader import BagReader
from seg_perception.ros.bag_writer import BagWriter
from seg_perception.ros.parameters import SegmentationParameters
from seg_perception.ros.recorded_transforms import TF, RecordedBuffer, read_transforms

BAG, RESULT, PICTURES, JOURNALS = 'bag', 'result.json', 'pictures', 'journal'
WORTH_LABELLING = 'worth_labelling'
#: Longest time between two frames whose motion is worth estimating, nanoseconds.
_MOTION_GAP_NS = 700_000_000

Progress = Callable[[int, int], None]  # frames done, frames in all


def replay_bag(
    options: ReplayOptions,
    bag: Path,
    output: Path,
    *,
    progress: Progress | None = None,
    stopping: Callable[[], bool] = lambda: False,
) -> dict[str, Any]:
    """Replay one bag.

    Args:
        options: what to do.
        bag: the recording; it is only read.
        output: folder for ``bag/`` (mcap), ``result.json`` and ``pictures/``.
        progress: told after each frame.
        stopping: asked before each frame; when it says so the bag is closed as it is.

    Returns:
        The result as plain data, as in ``result.json``.

    Raises:
        SegPerceptionError: the bag, a model, the truth or the output folder cannot be used.
    """
    options.check()
    asked = _asked(options, bag)
    found = _prepare(options, output, asked)
    if found is not None:
        return found
    with ExitStack() as stack:
        run = _Run(options, bag, output, asked, stack)
        result = run.go(progress, stopping)
    write_json(output / RESULT, result)
    if not result['interrupted']:
        shutil.rmtree(output / JOURNALS, ignore_errors=True)
    return result


def write_json(path: Path, content: Any) -> None:
    """Write beside, then rename."""
    write_whole(path, f'{json.dumps(content, indent=1)}\n'.encode())


def _asked(options: ReplayOptions, bag: Path) -> dict[str, Any]:
    """What a result depends on, as plain data."""
    path = bag.expanduser()
    if not path.exists():
        raise SourceError(f'{bag}: no such bag')
    files = sorted(f for f in path.iterdir() if f.is_file()) if path.is_dir() else [path]
    plain = dataclasses.asdict(options)
    for name in (
        *('resume', 'overwrite', 'params_files'),
        *('overrides', 'instance_overrides'),
    ):
        plain.pop(name)
    content = {
        'bag': {'path': str(path.resolve()), 'bytes': [f.stat().st_size for f in files]},
        'options': plain,
        'parameters': _plain(options.parameters()),
        'version': __version__,
    }
    if options.instance_model:
        content['instance_parameters'] = _plain(options.instance_parameters())
    return json.loads(json.dumps(content))  # lists for tuples, as it is read back


def _plain(parameters: Any) -> dict[str, Any]:
    """Without what depends on how many work beside, not on the bag."""
    return {k: v for k, v in dataclasses.asdict(parameters).items() if k != 'threads'}


def _prepare(options: ReplayOptions, output: Path, asked: dict) -> dict[str, Any] | None:
    """Make room in the output folder; return the finished result that is there, if it is."""
    result, bag = output / RESULT, output / BAG
    if options.resume and result.is_file():
        found = json.loads(result.read_text(encoding='utf-8'))
        if found.get('asked') != asked:
            raise SourceError(
                f'{output}: holds the replay of another bag or with other options: resume with '
                'those, or start anew with --overwrite'
            )
        if not found['interrupted']:
            return found
    elif (result.exists() or bag.exists()) and not (options.overwrite or options.resume):
        raise SourceError(
            f'{output}: holds a replay already: --resume goes on with it, --overwrite replaces it'
        )
    try:
        (output / JOURNALS).mkdir(parents=True, exist_ok=True)
        for name in (BAG, PICTURES, WORTH_LABELLING):
            shutil.rmtree(output / name, ignore_errors=True)
        result.unlink(missing_ok=True)
    except OSError as error:
        raise SourceError(f'{output}: cannot be written: {error.strerror}') from error
    return None


class _Run:
    """The loop over one bag's frames."""

    def __init__(
        self,
        options: ReplayOptions,
        bag: Path,
        output: Path,
        asked: dict[str, Any],
        stack: ExitStack,
    ) -> None:
        self._options, self._output, self._asked = options, output, asked
        self._bag = BagReader(bag, lambda text: print(f'warning: {text}', file=sys.stderr))
        self._cameras = find_cameras(self._bag, options.cameras)
        self._frames = CameraFrames(self._bag, self._cameras)
        tree, self._tf_problems = read_transforms(self._bag)
        self._buffer = RecordedBuffer(tree)
        self._truth = Truth(options.truth, self._bag, self._cameras, options.truth_match)
        self._writer = BagWriter(output / BAG)
        self._load_models(stack)
        stack.enter_context(self._writer)  # made last: an error above leaves no empty bag
        self._exhibit = Exhibit(
            options.pictures,
            self._models,
            reference=self._reference.labels if self._reference else None,
            truth=options.truth_labels,
            objects=self._objects,
        )
        self._greys: dict[str, tuple[int, np.ndarray]] = {}
        self._index: list[dict[str, Any]] = []
        self._undecodable = self._back = 0
        self._last_stamp: dict[str, int] = {}

    def _load_models(self, stack: ExitStack) -> None:
        options, names = self._options, self._options.model_names()
        self._reference = None
        if options.reference:
            self._reference = self._load(options.reference, 'reference', stack)
        self._objects = None
        if options.instance_model:
            self._objects = self._load_objects(stack)
        truth_labels = LabelSet.named(options.truth_labels) if options.truth_labels else None
        self._models: list[ModelRun] = []
        for name in names:
            model = self._load(name, f'model{len(self._models)}', stack)
            title = _unique(model.bundle.name, [m.name for m in self._models])
            prefixes = Prefixes.of(title, len(names) > 1)
            self._models.append(
                ModelRun(
                    title,
                    model,
                    self._parameters(name),
                    ModelOutputs(self._writer, prefixes),
                    self._bag,
                    self._buffer,
                    [c.name for c in self._cameras] if len(self._cameras) > 1 else [''],
                    truth_labels=truth_labels,
                    reference_labels=self._reference.labels if self._reference else None,
                )
            )

    def _load_objects(self, stack: ExitStack) -> ObjectRun:
        cameras = [camera.name for camera in self._cameras]
        objects = ObjectRun(
            self._options.instance_parameters(),
            self._writer,
            cameras if len(cameras) > 1 else [''],
            self._output / JOURNALS / 'objects.journal',
            {**self._asked['bag'], 'cameras': cameras},
            resume=self._options.resume,
        )
        stack.callback(objects.close)
        return objects

    def _parameters(self, model: str) -> SegmentationParameters:
        """The node's parameters; several cameras are named as the bag names them."""
        parameters = self._options.parameters(model)
        names = tuple(camera.name for camera in self._cameras)
        if len(names) == 1 or set(parameters.cameras) == set(names):
            return parameters
        if parameters.cameras:
            raise ParameterError(
                f"the parameter 'cameras' names {', '.join(parameters.cameras)}, the bag has "
                f'{", ".join(names)}: say which is which, --camera NAME=TOPIC for each'
            )
        return dataclasses.replace(parameters, cameras=names)

    def _load(self, name: str, file: str, stack: ExitStack) -> LoadedModel:
        cameras = [camera.image.name for camera in self._cameras]
        model = LoadedModel(
            name,
            self._options.parameters(name),
            self._output / JOURNALS / f'{file}.journal',
            {**self._asked['bag'], 'cameras': cameras},
            resume=self._options.resume,
        )
        stack.callback(model.close)
        return model

    def go(self, progress: Progress | None, stopping: Callable[[], bool]) -> dict[str, Any]:
        """Run over the frames; returns the result."""
        start, interrupted = time.monotonic(), False
        limit = self._options.limit
        total = self._frames.total
        if limit:
            total = sum(min(limit, camera.image.count) for camera in self._cameras)
        self._copy_transforms()
        done = 0
        for frame in self._frames:
            if limit and frame.index >= limit:
                if done >= total:
                    break
                continue
            if stopping():
                interrupted = True
                break
            self._handle(frame)
            done += 1
            if progress is not None:
                progress(done, total)
        return self._result(interrupted, done, total, time.monotonic() - start)

    def _copy_transforms(self) -> None:
        """Take /tf and /tf_static over: a viewer of the written bag needs them."""
        topics = {t.name for t in self._bag.topics if t.type == TF and t.count}
        for recorded in self._bag.messages(topics) if topics else ():
            latched = recorded.topic.endswith('tf_static')
            self._writer.write_raw(
                recorded.topic, TF, recorded.raw, recorded.log_ns, latched=latched
            )

    def _handle(self, frame: BagFrame) -> None:
        self._note_stamp(frame)
        if frame.frame is None:
            self._undecodable += 1
            self._greys.pop(frame.camera.name, None)
            for model in self._models:
                model.undecodable(frame)
            return
        truth = self._truth.of(frame)
        motion = self._motion(frame)
        reference = self._refer(frame)
        instances = None
        if self._objects is not None:
            instances = self._objects.frame(frame, truth, self._options.truth_labels)
        outcomes = [
            model.frame(frame, truth, motion, reference, instances) for model in self._models
        ]
        self._index.append(
            {'camera': frame.camera.name, 'index': frame.index, 'stamp_ns': frame.stamp_ns}
        )
        disputed = self._exhibit.show(frame, outcomes, truth, reference)
        self._index[-1]['disagreement'] = disputed

    def _note_stamp(self, frame: BagFrame) -> None:
        name = frame.camera.name
        self._back += frame.stamp_ns < self._last_stamp.get(name, 0)
        self._last_stamp[name] = frame.stamp_ns

    def _motion(self, frame: BagFrame) -> Motion | None:
        """The motion since this camera's last picture, None where it makes no sense."""
        if not self._options.temporal:
            return None
        assert frame.frame is not None
        grey = small_grey(frame.frame.pixels, frame.frame.color)
        before = self._greys.get(frame.camera.name)
        self._greys[frame.camera.name] = (frame.stamp_ns, grey)
        if before is None or before[1].shape != grey.shape:
            return None
        near = 0 < frame.stamp_ns - before[0] <= _MOTION_GAP_NS
        return Motion.between(before[1], grey) if near else None

    def _refer(self, frame: BagFrame) -> SemanticResult | None:
        if self._reference is None:
            return None
        assert frame.frame is not None
        segmenter = self._reference.journaled
        segmenter.key = [frame.camera.name, frame.index, frame.stamp_ns]
        return segmenter.segment(frame.frame.pixels, frame.frame.color)

    # ------------------------------------------------------------------------- afterwards

    def _result(self, interrupted: bool, done: int, total: int, seconds: float) -> dict[str, Any]:
        pictures = self._output / PICTURES
        warnings = [*self._frames.problems, *self._tf_problems]
        if self._back:
            warnings.append(f'{self._back} pictures have a stamp before that of the one before')
        if self._truth and not self._truth.matched:
            warnings.append(
                f'no frame has truth: the first is at {self._first_stamp()} ns; '
                f'{self._truth.explain()}'
            )
        models = []
        for number, model in enumerate(self._models):
            film = model.film.save(pictures, f'model{number}')
            models.append({**model.describe(), 'film': film})
        return {
            'schema': 1,
            'asked': self._asked,
            'name': self._bag.path.resolve().name,
            'bag': str(self._bag.path),
            'interrupted': interrupted,
            'damage': self._bag.damage,
            'warnings': warnings,
            'cameras': [
                {
                    'name': camera.name,
                    'topic': camera.image.name,
                    'camera_info': camera.info_topic,
                    'frames': camera.image.count,
                }
                for camera in self._cameras
            ],
            'frames': {
                'stated': total,
                'read': done,
                'undecodable': self._undecodable,
                'with_truth': self._truth.matched,
            },
            'recorded_seconds': self._bag.seconds,
            'seconds': round(seconds, 3),
            'index': self._index,
            'models': models,
            'reference': self._reference.describe() if self._reference else None,
            'objects': self._objects.describe() if self._objects else None,
            'gallery': self._exhibit.save(pictures, self._output / WORTH_LABELLING),
        }

    def _first_stamp(self) -> int | None:
        return self._index[0]['stamp_ns'] if self._index else None


def _unique(name: str, taken: list[str]) -> str:
    title, number = name, 2
    while title in taken:
        title, number = f'{name}_{number}', number + 1
    return title
