"""Light on surfaces, and the camera's development of the drawn picture: shade, haze, tone."""

from __future__ import annotations

import cv2
import numpy as np

from seg_perception.simulation.scene import Light

HEADROOM = 0.78
"""Brightness of sunlit level ground in vertex colours; leaves room for walls facing the sun."""


def lit(
    normals: np.ndarray, tint: np.ndarray, light: Light, yaw: float = 0.0, gloss: float = 0.0
) -> np.ndarray:
    """Return vertex colours uint8 [n,4,3]: tint under sun and sky.

    Args:
        normals: unit [n,4,3] in the thing's frame; tint [n,4,3] 0..1.
        yaw: rad, turn of the thing in the world.
        gloss: how much more of the sky level faces mirror (car paint).
    """
    sun = light.direction
    c, s = np.cos(yaw), np.sin(yaw)
    local = np.array([c * sun[0] + s * sun[1], -s * sun[0] + c * sun[1], sun[2]], np.float32)
    facing = np.clip(normals @ local, 0, None) / max(float(sun[2]), 0.45)
    up = np.clip(normals[..., 2], -1, 1)
    sky = 0.80 + 0.20 * up + gloss * (np.clip(up, 0, 1) ** 3 - 0.35)
    ambient = np.array(light.ambient, np.float32)
    full = light.sun * (1 - ambient) * np.minimum(facing, 1.25)[..., None]
    # An overcast sky still shades: sides are darker than tops, undersides darkest.
    value = (ambient * sky[..., None] + full) * HEADROOM * tint
    return np.clip(value * 255, 0, 255).astype(np.uint8)


class Development:
    """Turns the raw drawing into a photograph."""

    def __init__(self, light: Light, width: int, height: int, seed: int):
        self.light = light
        rng = np.random.default_rng([seed, 99])
        y, x = np.mgrid[-1 : 1 : height * 1j, -1 : 1 : width * 1j]
        fall = 1 - 0.13 * (x**2 + 0.6 * y**2)
        self._vignette = cv2.merge([(fall * 255).astype(np.uint8)] * 3)
        noise = rng.normal(0, light.noise, (height + 64, width + 64, 3)).astype(np.float32)
        noise = 0.6 * noise + 0.8 * cv2.GaussianBlur(noise, (0, 0), 0.8)
        self._noise = np.clip(noise + 128, 0, 255).astype(np.uint8)
        self._tone = self._tone_curves()
        s = light.saturation
        grey = np.array([0.299, 0.587, 0.114])
        self._mix = (np.eye(3) * s + (1 - s) * grey).astype(np.float32)
        shade = np.arange(256)[:, None] / 255.0
        factor = 1 - shade * light.sun * (1 - np.array(light.ambient))
        self._shade = np.clip(factor * 255, 0, 255).astype(np.uint8).reshape(1, 256, 3)
        air = np.arange(256)[:, None] / 255.0 * np.array(light.haze)
        self._air = air.astype(np.uint8).reshape(1, 256, 3)

    def _tone_curves(self) -> np.ndarray:
        """Return LUT uint8 [1,256,3]: exposure, contrast and white balance in one."""
        light = self.light
        value = np.arange(256) / 255.0 / HEADROOM * light.gain
        # A shoulder as cameras have it: mid tones lifted, highlights rolled off, white kept.
        value = (1 - np.exp(-1.7 * value)) / (1 - np.exp(-1.7 * 1.18))
        value = 0.5 + (value - 0.5) * light.contrast
        warm = np.array([1 + light.warmth, 1.0, 1 - light.warmth])
        curve = np.clip(value[:, None] * warm * 255, 0, 255)
        return curve.astype(np.uint8).reshape(1, 256, 3)

    def __call__(
        self,
        image: np.ndarray,
        depth: np.ndarray,
        shadow: np.ndarray | None,
        ground: np.ndarray,
        frame: int,
    ) -> np.ndarray:
        """Return the finished uint8 [h,w,3] RGB picture.

        Args:
            image: drawn, uint8 [h,w,3]; depth: float32 m, inf in the sky, of this
                or a coarser size.
            shadow: uint8 [h,w], 255 = in full shadow; ground: uint8 [h,w], where it falls.
        """
        if shadow is not None:
            cv2.multiply(shadow, ground, dst=shadow)
            shade = cv2.LUT(cv2.merge([shadow] * 3), self._shade)
            image = cv2.multiply(image, shade, scale=1 / 255)
        veil = cv2.exp(depth * np.float32(-1.0 / self.light.haze_length))
        thick = cv2.subtract(255, cv2.convertScaleAbs(veil, alpha=255))
        # The sky, infinitely far, would be all haze; it has its own horizon.
        thick[np.isinf(depth)] = 0
        if thick.shape != image.shape[:2]:
            thick = cv2.resize(thick, image.shape[1::-1], interpolation=cv2.INTER_LINEAR)
        through = cv2.merge([255 - thick] * 3)
        image = cv2.multiply(image, through, scale=1 / 255)
        image = cv2.add(image, cv2.LUT(cv2.merge([thick] * 3), self._air))
        image = cv2.transform(image, self._mix)
        image = cv2.LUT(image, self._tone)
        image = cv2.multiply(image, self._vignette, scale=1 / 255)
        rng = np.random.default_rng(frame)
        dy, dx = rng.integers(0, 64, 2)
        h, w = image.shape[:2]
        return cv2.addWeighted(image, 1.0, self._noise[dy : dy + h, dx : dx + w], 1.0, -128)
