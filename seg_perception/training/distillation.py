"""Learning from a teacher: its probabilities beside, or instead of, labels (arXiv:1503.02531)."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from seg_perception.core.errors import TrainingError
from seg_perception.core.labels import LabelSet
from seg_perception.evaluation.dataset import IGNORE
from seg_perception.zoo.checkpoint import read_network
from seg_perception.zoo.registry import Architecture, architecture


class Distillation(nn.Module):
    """The divergence of a network's probabilities from those of a teacher.

    ``T^2 KL(softmax(teacher / T) || softmax(student / T))``, the mean over all pixels but those
    labelled 255: padding shows the teacher nothing, and void is kept out of the score, too.
    Pixels labelled ``TEACHER_ONLY`` count.

    Args:
        teacher: network of the same classes, logits of the same size; is never trained.
        teacher_entry, student_entry: what normalisation either was fed with.
        factor: of this loss beside the others.
        temperature: T > 0; above 1 what the teacher holds for nearly as likely counts more.
    """

    def __init__(
        self,
        teacher: nn.Module,
        teacher_entry: Architecture,
        student_entry: Architecture,
        factor: float = 1.0,
        temperature: float = 1.0,
    ) -> None:
        super().__init__()
        self.teacher = teacher.eval().requires_grad_(False)
        self.multiple = teacher_entry.multiple
        self.factor = factor
        self.temperature = temperature
        theirs, ours = (
            [torch.tensor(values).view(1, 3, 1, 1) for values in (entry.mean, entry.std)]
            for entry in (teacher_entry, student_entry)
        )
        self.register_buffer('gain', ours[1] / theirs[1])
        self.register_buffer('offset', (ours[0] - theirs[0]) / theirs[1])

    @classmethod
    def load(
        cls, path: Path, student: str, labels: LabelSet, factor: float, temperature: float
    ) -> Distillation:
        """Take the averaged weights of a checkpoint as teacher.

        Args:
            path: checkpoint that ``seg-perception train`` wrote.
            student: architecture of the student; labels: its classes.

        Raises:
            TrainingError, ModelError: damaged, or a teacher of other classes.
        """
        teacher = read_network(Path(path))
        if teacher.labels.names != labels.names:
            raise TrainingError(
                f'teacher: {path} knows the classes of {teacher.labels.name!r}, the network is '
                f'to learn those of {labels.name!r}'
            )
        return cls(
            teacher.model,
            architecture(teacher.architecture),
            architecture(student),
            factor,
            temperature,
        )

    def train(self, mode: bool = True) -> Distillation:
        """Keep the teacher as it is."""
        self.training = mode
        return self

    def forward(
        self, pixels: torch.Tensor, logits: torch.Tensor, target: torch.Tensor
    ) -> torch.Tensor:
        """Return the scalar loss, times ``factor``.

        Args:
            pixels: float32 [N,3,H,W], normalised for the student.
            logits: of the student [N,C,H,W]; target: [N,H,W].
        """
        valid = target != IGNORE
        with torch.no_grad():
            taught = self._teach(pixels) / self.temperature
        learnt = logits.float() / self.temperature
        divergence = F.kl_div(
            learnt.log_softmax(1), taught.log_softmax(1), reduction='none', log_target=True
        ).sum(1)
        mean = (divergence * valid).sum() / valid.sum().clamp_min(1)
        return self.factor * self.temperature**2 * mean

    def _teach(self, pixels: torch.Tensor) -> torch.Tensor:
        height, width = pixels.shape[2:]
        if height % self.multiple or width % self.multiple:
            raise TrainingError(
                f'crop {height}x{width}: the teacher needs sides that are multiples of '
                f'{self.multiple}'
            )
        return self.teacher(pixels * self.gain + self.offset).float()
