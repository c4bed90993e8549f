"""What is asked for, from any door: from parameters, a preset and an extension to the spec of a rendition."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from progimage.engine import FORMATS, Format, ImageInfo, InvalidParameter, RenditionSpec, by_extension
from progimage.engine.parameters import parse
from progimage.engine.spec import canonical_name
from progimage.images.negotiation import suitable_format

AUTO = "auto"
"""The extension that leaves the choice of the format to us."""
PRESET = "preset"
_ANY = "PNG"
"""Stands for a format that is not chosen yet: it has alpha, depth, and every size."""
_SEVERAL = frozenset(("label", "url"))
"""The parameters of which there may be several."""

Query = list[tuple[str, str]]
Presets = Mapping[str, Query]
"""The transformations of each preset, by its name."""


class UnknownFormat(Exception):
    """No format that can be written has an extension.

    Args:
        extension: That was asked for, without its dot.
        known: The name of the format that it is of, which can only be read; None: it is of none.
    """

    def __init__(self, extension: str, known: str | None) -> None:
        """Keep both."""
        what = f"{known} can be read, but not written." if known else "No format has this extension."
        super().__init__(what)
        self.extension, self.known = extension[:100], known


@dataclass(frozen=True, slots=True)
class ImageName:
    """What follows `/storage/` in the path of an image.

    Attributes:
        reference: Reference of the image.
        extension: The extension that was asked for, in lower case; None: the original.
    """

    reference: str
    extension: str | None

    @classmethod
    def parse(cls, text: str) -> "ImageName":
        """Split a name at its first dot.

        >>> ImageName.parse("7d0a2c1e-4b7f-4f0e-9a53-1c6b8e2d5f90.WebP").extension
        'webp'
        """
        reference, dot, extension = text.partition(".")
        return cls(reference, extension.lower() if dot else None)


@dataclass(frozen=True, slots=True)
class RenditionRequest:
    """The transformations that are asked for.

    Attributes:
        query: Their names and values.
        droppable: Which of them came from a preset, so that they are left out for a format that does not have them.
    """

    query: Query
    droppable: frozenset[str] = frozenset()


def refuse_repeated(query: Query) -> None:
    """Refuse what is given twice, of which one could be meant; the engine does so itself for transformations.

    Raises:
        InvalidParameter: Something is.
    """
    for _ in each_once(query):
        pass


def each_once(query: Iterable[tuple[str, str]]) -> Iterator[tuple[str, str]]:
    """Return names and values one by one, until a name comes again that may come once.

    Raises:
        InvalidParameter: It does.
    """
    names = set()
    for name, value in query:
        if name in names and name not in _SEVERAL:
            raise InvalidParameter(name, value[:100], "given once")
        names.add(name)
        yield name, value


def with_preset(query: Query, presets: Presets) -> RenditionRequest:
    """Put a preset's transformations in its place; those that the query names itself stay as they are there.

    Raises:
        InvalidParameter: There is no such preset, or there are two.
    """
    named = [value for name, value in query if name == PRESET]
    if not named:
        return RenditionRequest(query)
    if len(named) > 1:
        raise InvalidParameter(PRESET, named[1][:100], "one preset")
    own = [pair for pair in query if pair[0] != PRESET]
    overridden = {canonical_name(name) for name, _ in own}
    ready = preset(named[0], presets)
    kept = [pair for pair in ready.query if canonical_name(pair[0]) not in overridden]
    return RenditionRequest([*kept, *own], ready.droppable - overridden)


def preset(name: str, presets: Presets) -> RenditionRequest:
    """Return the transformations of a preset.

    Raises:
        InvalidParameter: There is no such preset.
    """
    if name not in presets:
        raise InvalidParameter(PRESET, name[:100], ", ".join(sorted(presets)) or "none: there are no presets")
    return RenditionRequest(presets[name], frozenset(canonical_name(name) for name, _ in presets[name]))


def parsed(extension: str, asked: RenditionRequest) -> RenditionSpec:
    """Return the spec of what is asked for in the format of an extension, or for `auto` in any that has alpha.

    Raises:
        UnknownFormat: No format that can be written has this extension.
        InvalidParameter: A parameter is wrong.
    """
    if extension == AUTO:
        return RenditionSpec.parse(_ANY, asked.query, drop_unfit=True)
    return RenditionSpec.parse(writable(extension).name, asked.query, drop_unfit=asked.droppable)


def spec_of(
    extension: str, asked: RenditionRequest, info: ImageInfo, accept: str, preferred: Sequence[str]
) -> RenditionSpec:
    """Return the spec of an image in the format of an extension, or in the one that suits best for `auto`.

    Args:
        extension: Without the dot.
        asked: The transformations.
        info: What the image is like.
        accept: The request's Accept header.
        preferred: The names of the formats that are preferred, the best first.

    Raises:
        UnknownFormat: No format that can be written has this extension.
        InvalidParameter: A parameter is wrong.
    """
    if extension != AUTO:
        return parsed(extension, asked)
    values = parse(RenditionSpec, asked.query)
    format, lossless = suitable_format(RenditionSpec.of(_ANY, values, drop_unfit=True), info, accept, preferred)
    if lossless and not values.keys() & {"quality", "max_bytes", "lossless"}:
        values = {**values, "lossless": True}
    return RenditionSpec.of(format, values, drop_unfit=True)


def extensions() -> list[str]:
    """Return every extension that can be asked for."""
    return [AUTO, *sorted(e for f in FORMATS.values() if f.can_write for e in f.extensions)]


def writable(extension: str) -> Format:
    """Return the format that an extension stands for.

    Raises:
        UnknownFormat: There is none, or it can't be written.
    """
    format = by_extension(extension)
    if format and format.can_write:
        return format
    raise UnknownFormat(extension, format.name if format else None)
