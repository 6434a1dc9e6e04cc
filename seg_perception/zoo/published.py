"""Checkpoints as others publish them, renamed to the networks of this package.

Two formats: transformers' SegFormer (a folder with ``config.json`` and ``model.safetensors`` or
``pytorch_model.bin``) and torchvision's state dicts (``.pth``).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import torch
from torch import nn

from seg_perception.core.errors import ModelError
from seg_perception.core.labels import LabelSet

#: Files of a transformers checkpoint, best first.
WEIGHT_FILES = ('model.safetensors', 'pytorch_model.bin')
CONFIG_FILE = 'config.json'
#: Published names (transformers 4, as SegFormer's weights were uploaded) -> those of today's
#: transformers, which our module keeps. The library renames only within its own
#: ``from_pretrained``, which would rather initialise a missing tensor anew than refuse the file.
_SEGFORMER_NAMES = (
    (r'^segformer\.encoder\.', 'encoder.'),
    (r'^encoder\.patch_embeddings\.(\d+)\.', r'encoder.stages.\1.patch_embeddings.'),
    (r'^encoder\.block\.(\d+)\.', r'encoder.stages.\1.blocks.'),
    (r'^encoder\.layer_norm\.(\d+)\.', r'encoder.stages.\1.layer_norm.'),
    (r'\.attention\.self\.query\.', '.attention.q_proj.'),
    (r'\.attention\.self\.key\.', '.attention.k_proj.'),
    (r'\.attention\.self\.value\.', '.attention.v_proj.'),
    (r'\.attention\.self\.sr\.', '.attention.sequence_reduction.sequence_reduction.'),
    (r'\.attention\.self\.layer_norm\.', '.attention.sequence_reduction.layer_norm.'),
    (r'\.attention\.output\.dense\.', '.attention.o_proj.'),
    (r'\.mlp\.dense(\d)\.', r'.mlp.fc\1.'),
    (r'\.layer_norm_1\.', '.layernorm_before.'),
    (r'\.layer_norm_2\.', '.layernorm_after.'),
    (r'^decode_head\.linear_c\.', 'decode_head.linear_projections.'),
)
#: torchvision's Mask R-CNN was published with norms frozen at eps = 0; ours add PyTorch's.
_NORM_EPS = 1e-5
#: Its outputs per class, and how many values each class has there.
_CLASS_OUTPUTS = {
    'roi_heads.box_predictor.cls_score': 1,
    'roi_heads.box_predictor.bbox_pred': 4,
    'roi_heads.mask_predictor.mask_fcn_logits': 1,
}


def weights_file(path: Path) -> Path:
    """Return the weights of a file or a transformers checkpoint folder.

    Raises:
        ModelError: neither a file nor a folder with one of ``WEIGHT_FILES``.
    """
    path = Path(path)
    if path.is_dir():
        found = next((path / name for name in WEIGHT_FILES if (path / name).is_file()), None)
        if found is None:
            raise ModelError(f'{path} holds none of {", ".join(WEIGHT_FILES)}')
        return found
    if not path.is_file():
        raise ModelError(f'{path} does not exist')
    return path


def read_state(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a .safetensors file or of a PyTorch state dict, nothing else.

    Raises:
        ModelError: the file is damaged, or holds more than tensors.
    """
    try:
        if path.suffix == '.safetensors':
            from safetensors.torch import load_file

            return load_file(path)
        # weights_only: tensors and plain containers, never arbitrary objects.
        state = torch.load(path, map_location='cpu', weights_only=True)
    except Exception as error:  # each library has its own kinds for a damaged file
        raise ModelError(f'{path} cannot be read as weights: {error}') from error
    state = state.get('state_dict', state) if isinstance(state, dict) else None
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ModelError(f'{path} is no state dict: expected tensors by name')
    return state


def load_segformer(model: nn.Module, path: Path, classes: int) -> None:
    """Fill a ``zoo.segformer.SegFormer`` with a transformers semantic checkpoint.

    Args:
        model: of the same size, with ``classes`` outputs.
        path: folder of the checkpoint or its weights file.
        classes: outputs that the checkpoint must have.

    Raises:
        ModelError: the checkpoint is of another size, class count or architecture.
    """
    path = weights_file(path)
    _check_config(path.parent / CONFIG_FILE, classes)
    fill(model, segformer_names(read_state(path)), path)


def load_segformer_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill a SegFormer's encoder with an ImageNet checkpoint (``nvidia/mit-b*``).

    Raises:
        ModelError: the checkpoint is of another size or architecture.
    """
    path = weights_file(path)
    state = segformer_names(read_state(path))
    state = {k.removeprefix('encoder.'): v for k, v in state.items() if k.startswith('encoder.')}
    fill(encoder, state, path)


def segformer_names(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of a published SegFormer by the names of ``zoo.segformer``."""
    renamed = {}
    for name, value in state.items():
        for pattern, replacement in _SEGFORMER_NAMES:
            name = re.sub(pattern, replacement, name)
        renamed[name] = value
    return renamed


def load_maskrcnn(model: nn.Module, path: Path) -> None:
    """Fill ``zoo.maskrcnn.maskrcnn_resnet50`` of COCO's 80 classes with torchvision's weights.

    The published network numbers its outputs by COCO's category ids, which have gaps; the rows
    of the gaps are left out, so that output i + 1 is class i of the label set ``coco``.

    Raises:
        ModelError: not torchvision's 91-output Mask R-CNN on ResNet-50.
    """
    from torchvision.models.detection import MaskRCNN_ResNet50_FPN_Weights

    state = dict(read_state(path))
    categories = MaskRCNN_ResNet50_FPN_Weights.COCO_V1.meta['categories']
    names = ('__background__', *LabelSet.named('coco').names)
    rows = torch.tensor([categories.index(name) for name in names])
    for layer, values in _CLASS_OUTPUTS.items():
        for kind in ('weight', 'bias'):
            key = f'{layer}.{kind}'
            if key not in state or len(state[key]) != values * len(categories):
                raise ModelError(
                    f'{path}: expected {values * len(categories)} rows in {key}: the outputs of '
                    "torchvision's COCO Mask R-CNN"
                )
            by_class = state[key].unflatten(0, (len(categories), values))
            state[key] = by_class[rows].flatten(0, 1)
    for key in [key for key in state if key.startswith('backbone.body.')]:
        if key.endswith('running_var'):
            state[key] = state[key] - _NORM_EPS
            # Frozen norms count no batches.
            state[f'{key.removesuffix("running_var")}num_batches_tracked'] = torch.tensor(0)
    fill(model, state, path)


def load_torchvision_encoder(encoder: nn.Module, path: Path) -> None:
    """Fill an encoder with a torchvision ImageNet classifier, whose last layers are left out.

    Raises:
        ModelError: the checkpoint is of another architecture.
    """
    prefixes = ('fc.', 'classifier.')
    state = read_state(path)
    fill(
        encoder,
        {k.removeprefix('features.'): v for k, v in state.items() if not k.startswith(prefixes)},
        path,
    )


def fill(module: nn.Module, state: dict[str, torch.Tensor], path: Path) -> None:
    """Load a state dict that must fit in every name and shape.

    Raises:
        ModelError: naming the file and the first few differences. The module is unchanged.
    """
    wanted = module.state_dict()
    # Checkpoints of before PyTorch 0.4 do not count batches; nothing in inference does.
    counters = {k for k in wanted if k.endswith('num_batches_tracked')} - set(state)
    state = {**state, **{key: wanted[key] for key in counters}}
    differences = [f'no {key}' for key in wanted if key not in state]
    differences += [f'unknown {key}' for key in state if key not in wanted]
    differences += [
        f'{key} is {tuple(state[key].shape)}, expected {tuple(value.shape)}'
        for key, value in wanted.items()
        if key in state and state[key].shape != value.shape
    ]
    if differences:
        more = f' and {len(differences) - 3} more' if len(differences) > 3 else ''
        raise ModelError(
            f'{path} holds the weights of another network: {"; ".join(differences[:3])}{more}'
        )
    module.load_state_dict(state)


def _check_config(path: Path, classes: int) -> None:
    """Compare the facts beside the weights, which explain more than a tensor's shape does."""
    if not path.is_file():
        return
    try:
        config: dict[str, Any] = json.loads(path.read_text(encoding='utf-8'))
        kind = config.get('model_type')
        # Older files list the classes, newer ones may only count them.
        count = len(config.get('id2label') or ()) or int(config.get('num_labels', classes))
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise ModelError(f'{path} cannot be read: {error}') from error
    if kind != 'segformer':
        raise ModelError(f'{path}: a {kind!r} checkpoint, expected a SegFormer')
    if count != classes:
        raise ModelError(
            f'{path}: {count} classes, the label set has {classes}; name the fitting one with '
            '--labels'
        )
