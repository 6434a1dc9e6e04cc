"""What a trainer is made of, put together as the configuration says."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from seg_perception.core.errors import TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.training import losses
from seg_perception.training.checkpoint import load_checkpoint
from seg_perception.training.coarse import ClassGroups, CoarseLoss
from seg_perception.training.config import TrainingConfig
from seg_perception.zoo.checkpoint import read_network
from seg_perception.zoo.pretrained import load_encoder, match_by_order
from seg_perception.zoo.registry import architecture


def fill_encoder(
    model: nn.Module, encoder_name: str, config: TrainingConfig, accept_licence: bool
) -> None:
    """Load the configured encoder weights, if any, into the module called ``encoder_name``.

    Raises:
        TrainingError: they are not known to fit the architecture.
        ModelError: they cannot be had, or their terms are not accepted.
    """
    name = config.encoder_weights
    if not name:
        return
    if name.endswith('.pt'):
        take_encoder(model, encoder_name, Path(name))
        return
    fitting = architecture(config.architecture).encoder_weights
    if name not in fitting:
        raise TrainingError(
            f'encoder_weights {name!r} do not fit {config.architecture}; known to fit: '
            f'{", ".join(fitting) or "none"}'
        )
    file = Path(config.encoder_file) if config.encoder_file else None
    load_encoder(
        model.get_submodule(encoder_name), name, weights=file, accept_licence=accept_licence
    )


def take_encoder(model: nn.Module, encoder_name: str, checkpoint: Path) -> None:
    """Fill an encoder with that of another run's network, averaged, whatever comes behind it.

    Raises:
        TrainingError: no checkpoint, or one of the two networks has no encoder.
        ModelError: the encoders have other layers.
    """
    network = read_network(checkpoint)
    try:
        state = network.model.get_submodule('encoder').state_dict()
        encoder = model.get_submodule(encoder_name)
    except AttributeError as error:
        raise TrainingError(
            f'encoder_weights: no encoder can be taken over from {checkpoint}, a '
            f'{network.architecture}: {error}'
        ) from error
    encoder.load_state_dict(match_by_order(state, encoder.state_dict(), str(checkpoint)))


def load_initial(model: nn.Module, config: TrainingConfig) -> None:
    """Start from the averaged weights of another run.

    Where that run had other classes, the layers whose shapes depend on them start anew.

    Raises:
        TrainingError: the checkpoint holds another network.
    """
    state = load_checkpoint(Path(config.initial))
    weights, own = state['average'], model.state_dict()
    if state['config']['labels'] != config.labels:
        # Only the classifier's shape depends on the classes; it is all that may differ.
        anew = [k for k in own if k in weights and weights[k].shape != own[k].shape]
        weights = {**weights, **{key: own[key] for key in anew}}
        print(f'{config.initial}: other classes, starting anew: {", ".join(anew) or "nothing"}')
    try:
        model.load_state_dict(weights)
    except RuntimeError as error:
        raise TrainingError(
            f'initial: {config.initial} does not fit {config.architecture}: {error}'
        ) from error


def freeze(model: nn.Module, names: list[str]) -> list[nn.Module]:
    """Take modules out of training and return them.

    Raises:
        TrainingError: there is no such module.
    """
    try:
        frozen = [model.get_submodule(name) for name in names]
    except AttributeError as error:
        raise TrainingError(f'freeze: {error}') from error
    for module in frozen:
        module.requires_grad_(False)
    return frozen


def make_optimizer(
    model: nn.Module, config: TrainingConfig, encoder_name: str
) -> torch.optim.Optimizer:
    """Return AdamW; biases and norms are not decayed, the encoder learns more slowly."""
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            factor = config.encoder_factor if name.startswith(f'{encoder_name}.') else 1.0
            decay = config.weight_decay if parameter.ndim > 1 else 0.0
            groups.setdefault((factor, decay), []).append(parameter)
    return torch.optim.AdamW(
        (
            {'params': members, 'factor': factor, 'weight_decay': decay}
            for (factor, decay), members in groups.items()
        ),
        fused=True,
    )


def make_loss(
    config: TrainingConfig, weight: torch.Tensor | None, groups: ClassGroups
) -> nn.Module:
    """Return the weighted sum of the configured losses, for targets that may name sets.

    Args:
        weight: float32 [C] class weights for every loss but dice.
        groups: the sets of classes that the data sets name.
    """
    made = {
        'cross_entropy': losses.CrossEntropyLoss(weight),
        'dice': losses.DiceLoss(),
        'focal': losses.FocalLoss(config.focal_gamma, weight),
        'ohem': losses.OhemLoss(config.ohem_threshold, config.ohem_share, weight),
    }
    total = losses.WeightedSum([(factor, made[key]) for key, factor in config.loss.items()])
    return CoarseLoss(total, groups.membership()) if groups.groups else total


def foreground_table(names: list[str], labels: LabelSet, groups: ClassGroups) -> list[bool]:
    """Return 256 flags: ids that count as foreground; a set does if all its members do.

    Raises:
        TrainingError: an unknown class.
    """
    if unknown := [name for name in names if name not in labels.names]:
        raise TrainingError(f'patch: unknown {unknown}; known: {", ".join(labels.names)}')
    chosen = {labels.index(name) for name in names}
    table = [number in chosen for number in range(256)]
    for number, members in enumerate(groups.groups):
        table[len(labels) + number] = set(members) <= chosen
    return table
