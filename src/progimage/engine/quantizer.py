"""Palettes: reduction of pixels with any colours and alpha to at most 256 colours.

Images with few enough colours keep them exactly. For others, a palette is found in the same way as in Wu's and most
other quantizers: colours are counted, the box with the largest variance is split until there are enough boxes (Wan,
Wong and Prusinkiewicz, "An algorithm for multidimensional data clustering", 1988), and their means are refined by
k-means. Alpha is a coordinate like the colours, which are weighted by alpha.

A pixel between two colours of the palette gets one of them by a threshold that depends only on its position (ordered
dithering; Bayer, 1973). So static parts of an animation get the same colours in every frame, unlike with error
diffusion.

This module needs numpy: see `engine.libraries`.
"""

import heapq
from collections.abc import Sequence
from typing import Any

import numpy
import pyvips
from PIL import Image

Array = numpy.ndarray[Any, Any]

_OPAQUE_FROM = 128
"""Minimum alpha of pixels that count as opaque if only opaque and transparent are allowed."""
CLEAR = numpy.zeros(1, numpy.uint32)
"""Packed colour of fully transparent pixels."""
_SAMPLE = 400_000
"""Approximate number of pixels that a palette is computed from."""
_AT_ONCE = 1 << 17
"""Number of pixels that are processed at once, which limits the memory."""
_WEIGHTS = numpy.array([0.7, 1, 0.6, 0.6], numpy.float32)
"""Weights of red, green, blue and alpha: close to human perception, but adjusted so that soft edges keep their hues."""
_BITS = 6
"""Bits per channel of the cells that colours are grouped into for lookups."""
_ROUNDS = 4
"""Number of k-means rounds. More rounds change file sizes and similarity by less than 0.5 %."""
_GRAIN = 0.5
"""Weight of a dithered pixel's distance from its true colour relative to that of the mean; it avoids coarse grain."""
_OUT_OF_REACH = 1e9
_STEEPNESS = 1.6
"""How close to one colour of a pair pixels have to be not to be dithered: 1 dithers all pixels, more dithers fewer."""


class Palette:
    """A palette, which maps pixels to its colours.

    Attributes:
        table: Red, green, blue and alpha of each colour, the least opaque first.
        error: Root mean square distance of the pixels that it was made for, weighted by visibility; 0 if it contains
            all their colours.
    """

    def __init__(self, table: Array, error: float = 0, *, exact: bool, translucent: bool = False) -> None:
        self.table, self.error, self.exact = table[numpy.argsort(table[:, 3], kind="stable")], error, exact
        self._packed = packed(self.table)
        self._order = numpy.argsort(self._packed)
        self._pairs = None if exact else _Pairs(self.table, translucent=translucent)

    @property
    def clear(self) -> int:
        """Index of the fully transparent colour, if there is one: always the first."""
        return 0

    @property
    def has_clear(self) -> bool:
        """Whether one of the colours is fully transparent."""
        return not self.table[0, 3]

    def has_all_of(self, other: "Palette") -> bool:
        """Return whether this palette contains every colour of another palette."""
        return bool(numpy.isin(packed(other.table), self._packed).all())

    def indices(self, samples: Array, top: int = 0, left: int = 0) -> Array:
        """Return the index of the colour for each pixel.

        Args:
            samples: Rows and columns of red, green, blue and alpha.
            top: Row of the first sample in the image.
            left: Column of the first sample in the image.
        """
        height, width = samples.shape[:2]
        indices = numpy.empty((height, width), numpy.uint8)
        rows = max(1, _AT_ONCE // max(1, width))
        for start in range(0, height, rows):
            part = samples[start : start + rows]
            if self._pairs:
                indices[start : start + rows] = self._pairs.indices(part, top + start, left)
            else:
                places = numpy.searchsorted(self._packed, packed(part), sorter=self._order)
                indices[start : start + rows] = self._order[places]
        return indices

    def picture(self, samples: Array) -> Image.Image:
        """Return pixels as a Pillow image with this palette."""
        image = Image.frombytes("P", (samples.shape[1], samples.shape[0]), self.indices(samples).tobytes())
        image.putpalette(self.table[:, :3].tobytes())
        alphas = self.table[:, 3].tobytes().rstrip(b"\xff")
        if alphas:
            image.info["transparency"] = alphas
        return image


def samples_of(pixels: pyvips.Image, *, cut_out: bool = False) -> Array:
    """Return the samples of 8-bit pixels as rows and columns of red, green, blue and alpha.

    Fully transparent pixels all get the same colour.

    Args:
        pixels: Grey or RGB, with or without alpha.
        cut_out: Whether to make all pixels either opaque or transparent.
    """
    if pixels.bands < 3:
        pixels = pixels[0].bandjoin([pixels[0], *pixels.bandsplit()])
    if pixels.bands == 3:
        pixels = pixels.bandjoin(255)
    samples = numpy.array(memoryview(pixels.write_to_memory())).view(numpy.uint8)
    samples = samples.reshape(pixels.height, pixels.width, 4)
    alpha = samples[:, :, 3]
    if cut_out:
        alpha[:] = numpy.where(alpha < _OPAQUE_FROM, 0, 255)
    samples[alpha == 0] = 0
    return samples


def packed(samples: Array) -> Array:
    """Return each pixel as a single number."""
    return numpy.ascontiguousarray(samples).view(numpy.uint32)[..., 0]


def colours_in(pictures: Sequence[Array], maximum: int) -> Array | None:
    """Return the distinct colours of images, packed; None if there are more than `maximum`."""
    found = numpy.empty(0, numpy.uint32)
    for picture in pictures:
        pixels = packed(picture).reshape(-1)
        for start in range(0, len(pixels), _AT_ONCE):
            part = pixels[start : start + _AT_ONCE]
            if len(part) > maximum and len(numpy.unique(part[:: len(part) // (2 * maximum) + 1])) > maximum:
                return None
            found = numpy.union1d(found, part)
            if len(found) > maximum:
                return None
    return found


def palette_for(pictures: Sequence[Array], maximum: int) -> Palette:
    """Return a common palette for images: exact if they have few enough colours, otherwise fitted.

    Args:
        pictures: Samples as returned by `samples_of`.
        maximum: Maximum number of colours, including transparent.
    """
    colours = colours_in(pictures, maximum)
    return exact_palette(colours) if colours is not None else fitted_palette(pictures, maximum)


def exact_palette(colours: Array) -> Palette:
    """Return the palette that consists of packed colours."""
    return Palette(colours.view(numpy.uint8).reshape(-1, 4), exact=True)


def fitted_palette(pictures: Sequence[Array], maximum: int, *, clear: bool = False, enough: float = 0) -> Palette:
    """Return the palette that fits all pixels of images best.

    Args:
        pictures: Samples as returned by `samples_of`.
        maximum: Maximum number of colours.
        clear: Whether to include transparent even if no pixel is transparent.
        enough: Maximum error up to which fewer colours are used, to save bits per pixel.
    """
    every = int((sum(picture.size // 4 for picture in pictures) / _SAMPLE) ** 0.5) or 1
    pixels = numpy.concatenate([picture[::every, ::every].reshape(-1, 4) for picture in pictures])
    clear = clear or any(not picture[:, :, 3].all() for picture in pictures)
    translucent = any(bool(numpy.isin(picture[:, :, 3], (0, 255), invert=True).any()) for picture in pictures)
    points, weights = _counted(pixels[pixels[:, 3] > 0])
    centres, error = _centres(points, weights, max(1, maximum - clear))
    while error < enough and len(centres) + clear > 2:
        half = 1 << (len(centres) + clear - 1).bit_length() - 1
        fewer, greater = _centres(points, weights, half - clear)
        if greater >= enough:
            break
        centres, error = fewer, greater
    table = _colours_at(centres)
    if clear:
        table = numpy.concatenate([numpy.zeros((1, 4), numpy.uint8), table])
    return Palette(table, error, exact=False, translucent=translucent)


def _coordinates(colours: Array) -> Array:
    """Return the coordinates of colours in the space that distances are measured in: premultiplied and weighted."""
    found = colours.astype(numpy.float32)
    found[:, :3] *= found[:, 3:] * numpy.float32(1 / 255)
    found *= _WEIGHTS
    return found


def _colours_at(points: Array) -> Array:
    found = points / _WEIGHTS
    alpha = numpy.clip(numpy.rint(found[:, 3:]), 1, 255)
    # Nearly opaque becomes opaque. Otherwise a whole image with a soft edge would become slightly translucent.
    alpha[alpha > 252] = 255
    found[:, :3] *= 255 / numpy.maximum(found[:, 3:], 1)
    found[:, 3:] = alpha
    return numpy.clip(numpy.rint(found), 0, 255).astype(numpy.uint8)


_ALPHA_CELLS = 1 + (numpy.arange(256) * 14 >> 8)
_ALPHA_CELLS[0], _ALPHA_CELLS[255] = 0, 15
"""The 16 cells of alpha. Fully transparent and fully opaque have a cell of their own."""


def _cells(colours: Array, *, translucent: bool) -> Array:
    """Return the cell of a coarser colour space that each colour belongs to."""
    shifted = (colours[:, :3] >> (8 - _BITS)).astype(numpy.int32)
    cells = (shifted[:, 0] << _BITS | shifted[:, 1]) << _BITS | shifted[:, 2]
    return cells << 4 | _ALPHA_CELLS[colours[:, 3]] if translucent else cells


def _counted(colours: Array) -> tuple[Array, Array]:
    """Return the mean colour and the number of colours of each cell that isn't empty."""
    cells = _cells(colours, translucent=bool((colours[:, 3] < 255).any()))
    counts = numpy.bincount(cells)
    used = numpy.flatnonzero(counts)
    counts = counts[used]
    points = _coordinates(colours)
    sums = [numpy.bincount(cells, points[:, axis])[used] for axis in range(4)]
    return (numpy.stack(sums, 1) / counts[:, None]).astype(numpy.float32), counts.astype(numpy.float32)


def _centres(points: Array, weights: Array, maximum: int) -> tuple[Array, float]:
    """Return the centres that fit all points best, and their root mean square error."""
    if not len(points):
        return numpy.empty((0, 4), numpy.float32), 0.0
    centres, error = _boxes(points, weights, maximum), 0.0
    for _ in range(_ROUNDS):
        centres, error = _moved(centres, points, weights)
    return centres, error


def _boxes(points: Array, weights: Array, maximum: int) -> Array:
    """Divide points into boxes, and return the means of the boxes."""

    def box(members: Array) -> tuple[Array, Array]:
        here, weight = points[members], weights[members][:, None]
        mean = (here * weight).sum(0) / weight.sum()
        return mean, ((here - mean) ** 2 * weight).sum(0)

    def entry(members: Array) -> tuple[float, int, Array, Array, int]:
        mean, spread = box(members)
        return -float(spread.max()), int(members[0]), members, mean, int(spread.argmax())

    heap = [entry(numpy.arange(len(points)))]
    while len(heap) < maximum and heap[0][0] < 0:
        _, _, members, mean, axis = heap[0]
        below = points[members, axis] <= mean[axis]
        if below.all() or not below.any():  # the points differ by less than the precision of a float
            break
        heapq.heapreplace(heap, entry(members[below]))
        heapq.heappush(heap, entry(members[~below]))
    return numpy.array([mean for _, _, _, mean, _ in heap], numpy.float32)


def _moved(centres: Array, points: Array, weights: Array) -> tuple[Array, float]:
    """Move each centre to the mean of the points nearest to it; return the new centres and the previous error."""
    nearest, squares = numpy.empty(len(points), numpy.intp), 0.0
    for start in range(0, len(points), 4096):
        part = slice(start, start + 4096)
        distances = _distances(points[part], centres)
        nearest[part] = distances.argmin(1)
        squares += float(numpy.maximum(distances.min(1), 0) @ weights[part])
    totals = numpy.bincount(nearest, weights, len(centres))
    sums = numpy.stack([numpy.bincount(nearest, weights * points[:, axis], len(centres)) for axis in range(4)], 1)
    means = sums / numpy.maximum(totals, 1)[:, None]
    error = (squares / float(weights.sum())) ** 0.5
    return numpy.where(totals[:, None] > 0, means, centres).astype(numpy.float32), error


def _distances(points: Array, centres: Array) -> Array:
    """Return the squared distance of each point from each centre."""
    found = points @ centres.T
    found *= -2
    found += (centres * centres).sum(1)
    found += (points * points).sum(1)[:, None]
    return found


def _thresholds() -> Array:
    matrix = numpy.zeros((1, 1), numpy.float32)
    for _ in range(3):
        matrix = numpy.block([[4 * matrix, 4 * matrix + 2], [4 * matrix + 3, 4 * matrix + 1]])
    return (matrix + 0.5) / matrix.size


_THRESHOLDS = ((_thresholds() - 0.5) / _STEEPNESS + 0.5).astype(numpy.float32)


class _Pairs:
    """For each cell of colours, the two palette colours to mix, and the plane that decides between them.

    Cells are computed when they are first needed.
    """

    def __init__(self, table: Array, *, translucent: bool) -> None:
        self._translucent = translucent
        self._first = int(not translucent and not table[0, 3])  # opaque colours aren't mixed with transparent
        self._centres = _coordinates(table[self._first :])
        self._solid = table[self._first :, 3] == 255
        self._apart = numpy.maximum(_distances(self._centres, self._centres), 1e-6)
        self._row_of = numpy.zeros(1 << (3 * _BITS + 4 * translucent), numpy.int32)
        # The first row is for cells that aren't computed, such as those of transparent pixels.
        self._near, self._far = numpy.zeros((2, 1), numpy.uint8)
        self._planes = numpy.zeros((1, 5), numpy.float32)

    def indices(self, samples: Array, top: int, left: int) -> Array:
        """Return the index of the colour for each pixel; see `Palette.indices`."""
        height, width = samples.shape[:2]
        colours = samples.reshape(-1, 4)
        cells = _cells(colours, translucent=self._translucent)
        self._work_out(cells, colours)
        rows = self._row_of[cells]
        planes = self._planes[rows]
        share = numpy.einsum("ij,ij->i", _coordinates(colours), planes[:, :4]) - planes[:, 4]
        limits = numpy.tile(_THRESHOLDS, (height // 8 + 2, width // 8 + 2))
        limits = limits[top % 8 :, left % 8 :][:height, :width].reshape(-1)
        indices = numpy.where(share > limits, self._far[rows], self._near[rows])
        indices[colours[:, 3] == 0] = 0
        return indices.reshape(height, width)

    def _work_out(self, cells: Array, colours: Array) -> None:
        new = (self._row_of[cells] == 0) & (colours[:, 3] > 0)
        if not new.any():
            return
        found, inverse, counts = numpy.unique(cells[new], return_inverse=True, return_counts=True)
        here = _coordinates(colours[new])
        means = numpy.stack([numpy.bincount(inverse, here[:, axis]) for axis in range(4)], 1) / counts[:, None]
        self._row_of[found] = numpy.arange(len(self._near), len(self._near) + len(found))
        made = [self._pairs(means[start : start + 2048].astype(numpy.float32)) for start in range(0, len(found), 2048)]
        near, far, planes = (numpy.concatenate(parts) for parts in zip(*made, strict=True))
        self._near, self._far = numpy.concatenate([self._near, near]), numpy.concatenate([self._far, far])
        self._planes = numpy.concatenate([self._planes, planes])

    def _pairs(self, points: Array) -> tuple[Array, Array, Array]:
        """Return the colour nearest to each point, and the colour that approximates the point best when mixed with it.

        With the nearest colour c, another one d, and the share s of d in their mixture, the squared error of the
        mixture is |p - c - s(d - c)|², and its grain is s(1 - s)|d - c|².
        """
        distances = _distances(points, self._centres)
        if self._solid.any():  # opaque colours stay opaque
            distances[numpy.ix_(points[:, 3] > 254.5 * _WEIGHTS[3], ~self._solid)] = _OUT_OF_REACH
        near = distances.argmin(1)
        minimum = numpy.take_along_axis(distances, near[:, None], 1)
        apart = self._apart[near]
        along = (minimum + apart - distances) / 2  # (p - c)·(d - c)
        share = numpy.clip(along / apart, 0, 0.5)
        off = share * ((share + _GRAIN * (1 - share)) * apart - 2 * along)
        far = off.argmin(1)
        apart = numpy.take_along_axis(apart, far[:, None], 1)
        # The share for each pixel is the one whose mixture is nearest to it, which defines a plane.
        normals = (self._centres[far] - self._centres[near]) / apart
        offsets = (self._centres[near] * normals).sum(1, keepdims=True)
        near, far = near + self._first, far + self._first
        return near.astype(numpy.uint8), far.astype(numpy.uint8), numpy.concatenate([normals, offsets], 1)
