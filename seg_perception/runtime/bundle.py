"""Model bundles: a folder with an ONNX file and a model.yaml that says what it is."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from seg_perception.core.errors import BundleError, LabelSetError
from seg_perception.core.labels import LabelSet
from seg_perception.core.resources import share_dir, user_data_dir
from seg_perception.runtime import schema
from seg_perception.runtime.schema import InputSpec, Metric, OutputSpec

#: Folders of bundles to look in first, separated like PATH.
SEARCH_VARIABLE = 'SEG_PERCEPTION_MODELS'
DESCRIPTION = 'model.yaml'


@dataclass(frozen=True)
class Bundle:
    """A described model. Loading reads model.yaml only; ``verify`` reads the model file.

    Attributes:
        root: the bundle's folder.
        name, task, architecture, source, description: texts; task is 'semantic' or 'instance'.
        file: the ONNX file's name below ``root``; sha256: its checksum.
        labels: the classes of the network's channels, as many as ``classes``.
        input, output: tensors of the deployed graph.
        licence: terms of 'code', 'weights' and 'data'.
        metrics: measured figures with the command that measures them again.
        precision: of the file's arithmetic: 'fp32', 'fp16' or 'int8'; '' = not told.
    """

    root: Path
    name: str
    task: str
    file: str
    sha256: str
    labels: LabelSet
    classes: int
    input: InputSpec
    output: OutputSpec
    licence: Mapping[str, str]
    architecture: str = ''
    source: str = ''
    description: str = ''
    metrics: tuple[Metric, ...] = ()
    precision: str = ''

    @property
    def model_path(self) -> Path:
        """The ONNX file."""
        return self.root / self.file

    @classmethod
    def load(cls, path: str | Path) -> Bundle:
        """Read the bundle in a folder (or the one whose model.yaml is given).

        Raises:
            BundleError: the folder, the description or the model file is missing, or the
                description is malformed; the message names the key.
        """
        path = Path(path).expanduser()
        root = path.parent if path.name == DESCRIPTION else path
        description = root / DESCRIPTION
        try:
            data = yaml.safe_load(description.read_text(encoding='utf-8'))
        except OSError as error:
            raise BundleError(
                f'no model bundle at {root}: cannot read {description} '
                f'({error.strerror or error}). A bundle is a folder with a {DESCRIPTION}; '
                '`seg-perception models import` makes one from an ONNX file'
            ) from error
        except (yaml.YAMLError, UnicodeDecodeError) as error:
            raise BundleError(f'{description} is no valid YAML: {error}') from error
        try:
            bundle = cls._from_data(root.absolute(), data)
        except (BundleError, LabelSetError) as error:
            raise BundleError(f'{description}: {error}') from error
        if not bundle.model_path.is_file():
            raise BundleError(f'{description} names the model file {bundle.file!r}: not there')
        return bundle

    @classmethod
    def _from_data(cls, root: Path, data: Any) -> Bundle:
        top = schema.read_top(data)
        labels = _read_labels(root, top['labels'])
        classes = schema.whole(top['classes'], "'classes'", 1, 255)
        if len(labels) != classes:
            raise BundleError(
                f"the network has {classes} channels ('classes') but label set {labels.name!r} "
                f"has {len(labels)} classes; name the label set it was trained with in 'labels'"
            )
        texts = {
            key: schema.text(top[key], repr(key))
            for key in ('architecture', 'source', 'description', 'precision')
            if top.get(key) is not None
        }
        return cls(
            root=root,
            name=schema.text(top['name'], "'name'"),
            task=top['task'],
            file=schema.inner_path(top['file'], "'file'"),
            sha256=top['sha256'],
            labels=labels,
            classes=classes,
            input=schema.read_input(top['input'], top['task']),
            output=schema.read_output(top['output'], top['task']),
            licence=schema.read_licence(top['licence']),
            metrics=schema.read_metrics(top.get('metrics') or []),
            **texts,
        )

    @classmethod
    def find(cls, name: str | Path) -> Bundle:
        """Load a bundle by the name of its folder, or by its path.

        Args:
            name: a folder's name in one of ``search_paths()``; anything with a path separator,
                or a folder that is there, is a path.

        Raises:
            BundleError: there is none; the message lists those there are and where it looked.
        """
        text = os.fspath(name)
        if not text:
            raise BundleError('the model has no name; `seg-perception models list` shows them')
        if os.sep in text or text.startswith('~') or (Path(text) / DESCRIPTION).is_file():
            return cls.load(text)
        for folder in cls.search_paths():
            if (folder / text / DESCRIPTION).is_file():
                return cls.load(folder / text)
        known = ', '.join(folder.name for folder in bundle_folders()) or 'none'
        looked = ', '.join(str(folder) for folder in cls.search_paths())
        raise BundleError(
            f'no model bundle {text!r}; known: {known}. Looked in: {looked}. `seg-perception '
            'models import` makes one from an ONNX file, `seg-perception export` from a checkpoint'
        )

    @staticmethod
    def search_paths() -> list[Path]:
        """Folders that hold bundles: $SEG_PERCEPTION_MODELS, the user's, the package's own."""
        given = os.environ.get(SEARCH_VARIABLE, '').split(os.pathsep)
        paths = [Path(part).expanduser() for part in given if part]
        return [*paths, user_data_dir() / 'models', share_dir() / 'models']

    def verify(self) -> None:
        """Compare the model file with its checksum.

        Raises:
            BundleError: it is unreadable, truncated or altered.
        """
        try:
            digest = hashlib.sha256(self.model_path.read_bytes()).hexdigest()
        except OSError as error:
            raise BundleError(f'cannot read {self.model_path}: {error.strerror}') from error
        if digest != self.sha256:
            size = self.model_path.stat().st_size
            raise BundleError(
                f'{self.model_path} ({size} bytes) does not match the sha256 in {DESCRIPTION}: '
                f'truncated or altered (is {digest[:12]}..., should be {self.sha256[:12]}...). '
                'Get the file again, or import the model again'
            )


def bundle_folders() -> list[Path]:
    """Every folder with a model.yaml on the search paths; of equal names the first found."""
    found: dict[str, Path] = {}
    for parent in Bundle.search_paths():
        for description in sorted(parent.glob(f'*/{DESCRIPTION}')):
            folder = description.parent
            if not folder.name.startswith('.'):
                found.setdefault(folder.name, folder)
    return [found[name] for name in sorted(found)]


def write_bundle(
    folder: str | Path,
    model: bytes,
    description: Mapping[str, Any],
    *,
    readme: str = '',
    overwrite: bool = False,
    check: Callable[[Bundle], None] | None = None,
) -> Bundle:
    """Write a bundle whole or not at all: into a folder beside, checked, then renamed.

    Args:
        folder: of the new bundle.
        model: the ONNX file.
        description: model.yaml without 'schema', 'file' and 'sha256', which are filled in.
        readme: text of README.md; empty = none.
        overwrite: replace a bundle that is there.
        check: called with the bundle before it takes its place; what it raises stops that.

    Raises:
        BundleError: the folder is there already, cannot be written, or the description is
            malformed.
    """
    folder = Path(folder).expanduser().absolute()
    if folder.exists() and not overwrite:
        raise BundleError(f'{folder} is there already; overwrite it (--overwrite) or take another')
    if folder.exists() and not (folder / DESCRIPTION).is_file():
        raise BundleError(f'{folder} is no model bundle and will not be overwritten')
    data = {
        'schema': schema.SCHEMA,
        **description,
        'file': 'model.onnx',
        'sha256': hashlib.sha256(model).hexdigest(),
    }
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f'.{folder.name}-', dir=folder.parent))
    except OSError as error:
        raise BundleError(f'cannot write into {folder.parent}: {error.strerror}') from error
    try:
        text = yaml.safe_dump(data, sort_keys=False, allow_unicode=True)
        try:
            (made / 'model.onnx').write_bytes(model)
            (made / DESCRIPTION).write_text(text, encoding='utf-8')
            if readme:
                (made / 'README.md').write_text(readme, encoding='utf-8')
        except OSError as error:  # a full disk, mostly
            raise BundleError(
                f'cannot write {folder}: {error.strerror} ({len(model) / 1e6:.1f} MB are needed). '
                'Nothing was changed'
            ) from error
        bundle = Bundle.load(made)
        if check is not None:
            check(bundle)
        made.chmod(0o755)
        _take_place(made, folder)
    finally:
        shutil.rmtree(made, ignore_errors=True)
    return dataclasses.replace(bundle, root=folder)


def _take_place(made: Path, folder: Path) -> None:
    old = made.with_name(made.name + '-old')
    if folder.exists():
        folder.rename(old)
    try:
        made.rename(folder)
    except OSError as error:
        if old.exists():
            old.rename(folder)
        raise BundleError(f'cannot write {folder}: {error.strerror}') from error
    shutil.rmtree(old, ignore_errors=True)


def _read_labels(root: Path, value: Any) -> LabelSet:
    """Read the key ``labels``: a set's name, a YAML file in the bundle, or the set itself."""
    if isinstance(value, Mapping):
        return LabelSet.from_dict(value)
    name = schema.text(value, "'labels'")
    if name.endswith(('.yaml', '.yml')):
        return LabelSet.load(root / schema.inner_path(name, "'labels'"))
    return LabelSet.named(name)
