"""Errors of the domain. Every message names what is wrong and what to do about it."""


class SegPerceptionError(Exception):
    """Base of every error this package raises on purpose."""


class LabelSetError(SegPerceptionError):
    """A label set is missing, malformed, or does not fit the model."""


class CameraModelError(SegPerceptionError):
    """A calibration is missing, uncalibrated, not finite or of the wrong size."""


class GroundError(SegPerceptionError):
    """A grid specification or camera pose from which no ground can be mapped."""


class ImageError(SegPerceptionError):
    """An image message cannot be read: encoding, step, size or payload."""


class ExtrinsicsError(SegPerceptionError):
    """The camera's pose is not known at the asked time."""


class OdometryError(SegPerceptionError):
    """Where the robot was at the asked time is not known."""


class ParameterError(SegPerceptionError):
    """A node parameter is out of range or inconsistent with another."""


class BundleError(SegPerceptionError):
    """A model bundle is missing, truncated, altered, or of the wrong shape."""


class ProviderError(SegPerceptionError):
    """The asked execution provider cannot be used here."""


class SourceError(SegPerceptionError):
    """A video, folder, bag or device cannot be read."""


class ModelError(SegPerceptionError):
    """A network cannot be built, or weights do not fit it."""


class DatasetError(SegPerceptionError):
    """Training or evaluation data is missing, unreadable or out of range."""


class TrainingError(SegPerceptionError):
    """A training configuration or checkpoint cannot be used."""


class ExportError(SegPerceptionError):
    """A trained network cannot be written as a bundle, or the bundle differs from it."""
