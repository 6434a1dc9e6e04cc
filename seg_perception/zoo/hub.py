"""Weights of others by name, from the hubs that publish them.

Nothing is downloaded before its licence was shown, and nothing that forbids commercial use
before it was accepted. Files go to the hubs' own caches (``HF_HOME``, ``TORCH_HOME``), where
other programs find them, too. Where no hub can be reached, the file is named by hand.
"""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import torch
from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.core.labels import LabelSet
from seg_perception.zoo import published

#: Seconds to wait for a hub's first answer.
TIMEOUT = 10
ACCEPT = 'to use it all the same, for what it allows, give --accept-licence'


@dataclass(frozen=True)
class Terms:
    """Under what terms weights may be used.

    Attributes:
        weights, data: of the weights and of what they were trained on, for people.
        commercial: False where the weights' own licence forbids commercial use.
    """

    weights: str
    data: str
    commercial: bool


@dataclass(frozen=True)
class HuggingFaceRepo:
    """A model repository on the Hugging Face hub: ``owner/name`` and a revision."""

    name: str
    revision: str = 'main'
    form: ClassVar[str] = 'the folder with its config.json and model.safetensors'

    def __str__(self) -> str:
        return f'https://huggingface.co/{self.name}'

    def download(self) -> Path:
        """Return the local folder with configuration and weights.

        Raises:
            ModelError: not cached and not reachable, or no such repository.
        """
        from huggingface_hub import constants, hf_hub_download, try_to_load_from_cache
        from huggingface_hub.errors import EntryNotFoundError, HfHubHTTPError

        def get(file: str) -> Path:
            cached = try_to_load_from_cache(self.name, file, revision=self.revision)
            if isinstance(cached, str):
                return Path(cached)
            if not constants.HF_HUB_OFFLINE:
                # An unreachable hub would be asked six times, for half a minute.
                _reach(constants.ENDPOINT)
            return Path(hf_hub_download(self.name, file, revision=self.revision))

        error: Exception
        for weights in published.WEIGHT_FILES:
            try:
                get(published.CONFIG_FILE)
                return get(weights).parent
            except (HfHubHTTPError, EntryNotFoundError, OSError) as problem:
                error = problem
        raise ModelError(f'cannot download {self}: {error}') from error


@dataclass(frozen=True)
class TorchHubFile:
    """A file of PyTorch's download server; its name ends with the start of its sha256."""

    name: str
    form: ClassVar[str] = 'the file'

    def __str__(self) -> str:
        return f'https://download.pytorch.org/models/{self.name}'

    def download(self) -> Path:
        """Return the local file, checked against the hash in its name.

        Raises:
            ModelError: not cached and not reachable, or an altered file.
        """
        folder = Path(torch.hub.get_dir()) / 'checkpoints'
        path = folder / self.name
        if path.is_file():
            return path
        try:
            _reach(str(self))
            folder.mkdir(parents=True, exist_ok=True)
            # Written beside and renamed by torch; a wrong hash raises RuntimeError.
            digest = path.stem.rsplit('-', 1)[1]
            torch.hub.download_url_to_file(str(self), str(path), digest)
        except (OSError, RuntimeError) as error:
            raise ModelError(f'cannot download {self}: {error}') from error
        return path


@dataclass(frozen=True)
class HubModel:
    """A whole network that can be had ready trained.

    Attributes:
        architecture: in ``zoo.registry``. labels: label set of its outputs.
        source: where the weights lie. terms: under what terms.
        default_size: (height, width) pixels it was trained at.
    """

    architecture: str
    labels: str
    source: HuggingFaceRepo | TorchHubFile
    terms: Terms
    default_size: tuple[int, int]


@dataclass(frozen=True)
class HubEncoder:
    """An encoder trained on ImageNet; ``load`` fills a module from the downloaded file."""

    source: HuggingFaceRepo | TorchHubFile
    terms: Terms
    load: Callable[[nn.Module, Path], None]
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @property
    def licence(self) -> str:
        """Terms of the weights, for the model card."""
        return self.terms.weights


_NVIDIA = (
    'NVIDIA Source Code License for SegFormer: non-commercial, research and evaluation only '
    '(https://github.com/NVlabs/SegFormer/blob/master/LICENSE)'
)
_TORCHVISION = 'BSD-3-Clause (torchvision); the terms of its training data may apply to it'
_DATA = {
    'cityscapes': 'Cityscapes: non-commercial (https://www.cityscapes-dataset.com/license)',
    'ade20k': 'ADE20K: pictures for non-commercial research and education only',
    'coco': 'COCO: annotations CC BY 4.0, pictures under the terms of their Flickr owners',
    'imagenet': 'ImageNet: pictures for non-commercial research and education only',
}


def _segformer(size: str, data: str, name: str, default_size: tuple[int, int]) -> HubModel:
    return HubModel(
        architecture=f'segformer_{size}',
        labels=data,
        source=HuggingFaceRepo(f'nvidia/segformer-{size}-finetuned-{name}'),
        terms=Terms(_NVIDIA, _DATA[data], commercial=False),
        default_size=default_size,
    )


_SIZES = ('b0', 'b1', 'b2', 'b3', 'b4', 'b5')
MODELS = {
    **{
        f'segformer_{size}_cityscapes': _segformer(
            size, 'cityscapes', 'cityscapes-1024-1024', (1024, 1024)
        )
        for size in _SIZES
    },
    **{
        f'segformer_{size}_ade20k': _segformer(size, 'ade20k', 'ade-512-512', (512, 512))
        for size in _SIZES[:-1]
    },
    'segformer_b5_ade20k': _segformer('b5', 'ade20k', 'ade-640-640', (640, 640)),
    'maskrcnn_resnet50_fpn_coco': HubModel(
        architecture='maskrcnn_resnet50_fpn',
        labels='coco',
        source=TorchHubFile('maskrcnn_resnet50_fpn_coco-bf2d0c1e.pth'),
        terms=Terms(_TORCHVISION, _DATA['coco'], commercial=True),
        default_size=(800, 1088),
    ),
}

_FROM_TORCHVISION = Terms(_TORCHVISION, _DATA['imagenet'], commercial=True)
ENCODERS = {
    **{
        f'imagenet-mit-{size}': HubEncoder(
            HuggingFaceRepo(f'nvidia/mit-{size}'),
            Terms(_NVIDIA, _DATA['imagenet'], commercial=False),
            published.load_segformer_encoder,
        )
        for size in _SIZES
    },
    **{
        name: HubEncoder(TorchHubFile(file), _FROM_TORCHVISION, published.load_torchvision_encoder)
        for name, file in (
            ('imagenet-resnet50', 'resnet50-0676ba61.pth'),
            ('imagenet-resnet101', 'resnet101-63fe2227.pth'),
            ('imagenet-vgg16', 'vgg16-397923af.pth'),
        )
    },
}


def hub_model(name: str) -> HubModel:
    """Return the entry of a ready trained network.

    Raises:
        ModelError: no such name; the message lists the known ones.
    """
    if name not in MODELS:
        raise ModelError(f'no pretrained network {name!r}; known: {", ".join(sorted(MODELS))}')
    return MODELS[name]


def load_model(
    name: str,
    *,
    weights: Path | None = None,
    labels: str | None = None,
    accept_licence: bool = False,
    say: Callable[[str], None] = print,
) -> nn.Module:
    """Return a network of the zoo, in eval mode, that carries published weights.

    Args:
        name: a key of ``MODELS``.
        weights: a file or folder got by other means, instead of a download.
        labels: label set of ``weights`` in the same format with other classes (SegFormer).
        accept_licence: the user accepts terms that forbid commercial use.
        say: gets the licence, before anything is downloaded.

    Raises:
        ModelError: unknown name, terms not accepted, no hub reachable, or weights that do not
            fit the network.
    """
    from seg_perception.zoo.registry import build

    entry = hub_model(name)
    path = obtain(name, entry.source, entry.terms, weights, accept_licence, say)
    classes = len(LabelSet.named(labels or entry.labels))
    model = build(entry.architecture, classes)
    if entry.architecture.startswith('segformer'):
        published.load_segformer(model, path, classes)
    elif labels not in (None, entry.labels):
        raise ModelError(f'{name} comes with the label set {entry.labels!r}, not {labels!r}')
    else:
        published.load_maskrcnn(model, path)
    return model.eval()


def obtain(
    name: str,
    source: HuggingFaceRepo | TorchHubFile,
    terms: Terms,
    weights: Path | None = None,
    accept_licence: bool = False,
    say: Callable[[str], None] = print,
) -> Path:
    """Show the terms, see that they are accepted, and return the file or folder of weights.

    Raises:
        ModelError: terms not accepted, ``weights`` missing, or no download possible.
    """
    say(f'{name} from {weights or source}\n  weights: {terms.weights}\n  data: {terms.data}')
    if not terms.commercial and not accept_licence:
        raise ModelError(
            f'the licence of {name} forbids commercial use: {terms.weights}; {ACCEPT}'
        )
    if weights is not None:
        return published.weights_file(weights)
    try:
        return source.download()
    except ModelError as error:
        raise ModelError(
            f'{error}. If no hub can be reached from here, fetch {source} on another machine and '
            f'name {source.form} with --weights'
        ) from error


def _reach(url: str) -> None:
    """Raise OSError soon if the server of ``url`` does not answer (proxies are honoured)."""
    head = urllib.request.Request(url, method='HEAD')
    with suppress(urllib.error.HTTPError):  # also an answer
        urllib.request.urlopen(head, timeout=TIMEOUT).close()
