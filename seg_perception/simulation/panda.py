"""The one place that talks to Panda3D: off-screen buffers of its software renderer.

Facts about the software renderer that this module accounts for: textures must have sides that
are powers of two; vertices snap to whole pixels, rounding towards the top left, so the film is
moved by half a pixel; flat colours come out exact, and textured ones one level darker; depth
cannot be read back, so the renderer computes it from the planes of the faces it sees.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np

from seg_perception.core.errors import SourceError
from seg_perception.simulation.textures import silhouette, texture

NEAR, FAR = 0.3, 900.0
VERTEX = np.dtype([('vertex', '<f4', 3), ('color', 'u1', 4), ('texcoord', '<f4', 2)])
# The ground comes after what stands, so that its hidden part costs nothing, and in this order.
_ORDER = {'sky': 0, 'land': 10, 'road': 20, 'road_decal': 30, 'walk': 40, 'walk_decal': 50}


@lru_cache(maxsize=1)
def core() -> Any:
    """Return ``panda3d.core``, set up for off-screen software rendering.

    Raises:
        SourceError: Panda3D is not installed.
    """
    try:
        from panda3d import core as p3d
    except ImportError as error:
        raise SourceError(
            f"the simulator needs Panda3D ({error}): run 'pip install panda3d'"
        ) from error
    p3d.loadPrcFileData(
        'seg_perception',
        'load-display p3tinydisplay\nwindow-type offscreen\naudio-library-name null\n'
        'textures-power-2 none\nnotify-level-display fatal\nsupport-threads false\n'
        'td-perspective-textures true',
    )
    bins = p3d.CullBinManager.getGlobalPtr()
    bins.addBin('ground', p3d.CullBinManager.BTFixed, 25)
    bins.setBinType('opaque', p3d.CullBinManager.BTFrontToBack)
    return p3d


@lru_cache(maxsize=1)
def _host() -> Any:
    """Return a tiny buffer whose state all others share, so a texture is prepared once."""
    p3d = core()
    pipe = p3d.GraphicsPipeSelection.getGlobalPtr().makePipe(
        'TinyOffscreenGraphicsPipe', 'p3tinydisplay'
    )
    if pipe is None:
        raise SourceError(
            'Panda3D was installed without its software renderer (p3tinydisplay): run '
            "'pip install panda3d' to get the wheel that has it"
        )
    return _make_buffer(pipe, 32, 32, None)


def _make_buffer(pipe: Any, width: int, height: int, gsg: Any) -> Any:
    p3d = core()
    want = p3d.FrameBufferProperties()
    want.setRgbaBits(8, 8, 8, 8)
    want.setDepthBits(24)
    size = p3d.WindowProperties.size(width, height)
    arguments = [pipe, 'street', 0, want, size, p3d.GraphicsPipe.BFRefuseWindow]
    if gsg is not None:
        arguments.append(gsg)
    buffer = p3d.GraphicsEngine.getGlobalPtr().makeOutput(*arguments)
    if buffer is None:
        raise SourceError(f'no {width}x{height} buffer for the software renderer: out of memory?')
    buffer.setActive(False)
    return buffer


class Canvas:
    """An off-screen picture with its own camera; close it when done."""

    def __init__(self, width: int, height: int):
        p3d = core()
        host = _host()
        self.width, self.height = width, height
        # Kept, so that closing works while the interpreter ends too.
        self._engine = p3d.GraphicsEngine.getGlobalPtr()
        self._buffer = _make_buffer(host.getPipe(), width, height, host.getGsg())
        self._pixels = p3d.Texture('pixels')
        self._buffer.addRenderTexture(
            self._pixels, p3d.GraphicsOutput.RTMCopyRam, p3d.GraphicsOutput.RTPColor
        )
        self._buffer.setClearColor(p3d.LColor(0, 0, 0, 0))
        self._lens = p3d.PerspectiveLens()
        self._lens.setNearFar(NEAR, FAR)
        self._camera = p3d.NodePath(p3d.Camera('camera', self._lens))
        self._buffer.makeDisplayRegion().setCamera(self._camera)

    def set_lens(self, fx: float, fy: float, cx: float, cy: float) -> None:
        """Set a pinhole in this canvas's pixels; (cx, cy) with pixel centres at whole numbers."""
        p3d, w, h = core(), self.width, self.height
        # +0.5 from centres to corners, +0.5 against the renderer's rounding towards the top left.
        cx, cy = cx + 1.0, cy + 1.0
        self._lens.setFocalLength(1.0)
        self._lens.setFilmSize(w / fx, h / fy)
        self._lens.setFilmOffset(p3d.LVecBase2((w / 2 - cx) / fx, (cy - h / 2) / fy))

    def render(self, root: Any, world_optical: np.ndarray) -> np.ndarray:
        """Return what a camera at a 4x4 pose sees of a scene graph, uint8 [h,w,4] BGRA."""
        p3d = core()
        r, origin = world_optical[:3, :3], world_optical[:3, 3]
        # Panda's camera looks along +y with x right and z up; optical is z, x, -y.
        axes = np.stack([r[:, 0], r[:, 2], -r[:, 1]])
        rows = [*axes.tolist(), origin.tolist()]
        matrix = p3d.LMatrix4(
            *(v for row, w in zip(rows, (0, 0, 0, 1), strict=True) for v in (*row, w))
        )
        self._camera.setMat(matrix)
        self._camera.reparentTo(root)
        self._buffer.setActive(True)
        try:
            self._engine.renderFrame()
        finally:
            self._buffer.setActive(False)
        image = np.frombuffer(self._pixels.getRamImage(), np.uint8)
        return image.reshape(self.height, self.width, 4)[::-1]

    def close(self) -> None:
        """Free the buffer."""
        if self._buffer is not None:
            self._engine.removeWindow(self._buffer)
            self._buffer = None


@lru_cache(maxsize=200)
def _colour_texture(name: str) -> Any:
    image = texture(name)
    clamp = name.partition(':')[0] in (
        'leaves',
        'branches',
        'sign',
        'blob',
        'patch',
        'crack',
        'manhole',
        'arrow',
        'vehicle',
    )
    return _upload(name, image[..., [2, 1, 0, 3][: image.shape[2]]], clamp, smooth=True)


@lru_cache(maxsize=64)
def _mask_texture(name: str) -> Any:
    alpha = silhouette(name)
    image = np.full((*alpha.shape, 4), 255, np.uint8)
    image[..., 3] = alpha
    return _upload(f'{name} mask', image, name.partition(':')[0] != 'railing', smooth=False)


def _upload(name: str, image: np.ndarray, clamp: bool, *, smooth: bool) -> Any:
    p3d = core()
    h, w, channels = image.shape
    kind = p3d.Texture.FRgba if channels == 4 else p3d.Texture.FRgb
    picture = p3d.Texture(name)
    picture.setup2dTexture(w, h, p3d.Texture.TUnsignedByte, kind)
    picture.setRamImage(np.ascontiguousarray(image[::-1]).tobytes())
    wrap = p3d.SamplerState.WMClamp if clamp else p3d.SamplerState.WMRepeat
    picture.setWrapU(wrap)
    picture.setWrapV(wrap)
    if smooth:
        picture.setMinfilter(p3d.SamplerState.FTLinearMipmapNearest)
        picture.setMagfilter(p3d.SamplerState.FTLinear)
    else:
        picture.setMinfilter(p3d.SamplerState.FTNearest)
        picture.setMagfilter(p3d.SamplerState.FTNearest)
    return picture


@lru_cache(maxsize=1)
def _vertex_format() -> Any:
    p3d = core()
    array = p3d.GeomVertexArrayFormat()
    array.addColumn('vertex', 3, p3d.Geom.NTFloat32, p3d.Geom.CPoint)
    array.addColumn('color', 4, p3d.Geom.NTUint8, p3d.Geom.CColor)
    array.addColumn('texcoord', 2, p3d.Geom.NTFloat32, p3d.Geom.CTexcoord)
    layout = p3d.GeomVertexFormat()
    layout.addArray(array)
    return p3d.GeomVertexFormat.registerFormat(layout)


def geometry(points: np.ndarray, color: np.ndarray, uv: np.ndarray) -> Any:
    """Return a Geom of quads: points [n,4,3], colours uint8 [n,4,3] RGB, uv [n,4,2]."""
    p3d = core()
    n = len(points)
    rows = np.empty((n, 4), VERTEX)
    rows['vertex'], rows['color'][..., :3], rows['texcoord'] = points, color, uv
    rows['color'][..., 3] = 255
    data = p3d.GeomVertexData('quads', _vertex_format(), p3d.Geom.UHStatic)
    data.uncleanSetNumRows(4 * n)
    memoryview(data.modifyArray(0)).cast('B')[:] = rows.tobytes()
    triangles = np.array([[0, 1, 2], [0, 2, 3]])
    whole = np.abs(points[:, 3] - points[:, 2]).sum(axis=1) > 1e-9
    first = 4 * np.arange(n)[:, None]
    index = np.concatenate([first + triangles[0], (first + triangles[1])[whole]])
    primitive = p3d.GeomTriangles(p3d.Geom.UHStatic)
    primitive.setIndexType(p3d.Geom.NTUint32)
    vertices = primitive.modifyVertices()
    vertices.uncleanSetNumRows(index.size)
    memoryview(vertices).cast('B')[:] = index.astype(np.uint32).tobytes()
    geom = p3d.Geom(data)
    geom.addPrimitive(primitive)
    return geom


@lru_cache(maxsize=1024)
def colour_state(name: str, layer: str) -> Any:
    """Return the render state of a material in the colour picture."""
    p3d = core()
    state = _layer_state(layer)
    if name != 'white':
        stage = p3d.TextureAttrib.make(_colour_texture(name))
        state = state.addAttrib(stage)
    alpha = texture(name).shape[2] == 4
    if alpha and layer in ('road_decal', 'walk_decal', 'glass'):
        state = state.addAttrib(p3d.TransparencyAttrib.make(p3d.TransparencyAttrib.MAlpha))
    elif alpha:
        state = state.addAttrib(p3d.TransparencyAttrib.make(p3d.TransparencyAttrib.MBinary))
    if layer == 'glass':
        state = state.addAttrib(p3d.DepthWriteAttrib.make(p3d.DepthWriteAttrib.MOff))
    return state


@lru_cache(maxsize=256)
def code_state(name: str, layer: str) -> Any:
    """Return the render state of a material in the picture of face codes."""
    p3d = core()
    state = _layer_state(layer)
    state = state.addAttrib(p3d.ShadeModelAttrib.make(p3d.ShadeModelAttrib.MFlat))
    if layer in ('cutout', 'glass') and texture(name).shape[2] == 4:
        state = state.addAttrib(p3d.TextureAttrib.make(_mask_texture(name)))
        state = state.addAttrib(p3d.TransparencyAttrib.make(p3d.TransparencyAttrib.MBinary))
    return state


def _layer_state(layer: str) -> Any:
    p3d = core()
    state = p3d.RenderState.make(p3d.CullFaceAttrib.make(p3d.CullFaceAttrib.MCullNone))
    state = state.addAttrib(p3d.ColorAttrib.makeVertex())
    if layer in _ORDER:
        # Ground layers are painted one over the other: what stands hides them, never they it.
        state = state.addAttrib(p3d.CullBinAttrib.make('ground', _ORDER[layer]))
        state = state.addAttrib(p3d.DepthWriteAttrib.make(p3d.DepthWriteAttrib.MOff))
    return state


def transform_of(matrix: np.ndarray) -> Any:
    """Return Panda's transform of a 4x4 matrix."""
    p3d = core()
    return p3d.TransformState.makeMat(p3d.LMatrix4(*matrix.T.ravel().tolist()))
