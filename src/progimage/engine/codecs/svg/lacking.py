"""Warnings about parts of a drawing that aren't drawn."""

import re
from collections.abc import Callable, Iterator
from xml.etree.ElementTree import Element

from progimage.engine.codecs.svg.document import local_name, outside
from progimage.engine.codecs.svg.text import has_emoji_sequences, needs_pango

_ANIMATING = frozenset({"animate", "animateColor", "animateMotion", "animateTransform", "set"})
_SHAPE = r"\s*(?:circle|ellipse|inset|polygon|path|rect|xywh|shape)\("
_CLIPPED = re.compile(rf"clip-path\s*:{_SHAPE}", re.IGNORECASE)
_CLIPPING = re.compile(_SHAPE, re.IGNORECASE)


def lacking(root: Element) -> Iterator[str]:
    """Yield a sentence for each kind of content that isn't drawn.

    Args:
        root: Root of the drawing as parsed.
    """
    elements = list(root.iter())
    names = set(map(local_name, elements))
    styles = [text for element in elements if (text := _style(element))]

    def styled(sought: Callable[[str], object]) -> bool:
        return any(sought(text) for text in styles)

    if "foreignObject" in names:
        yield "Content in foreignObject, such as HTML, isn't drawn."
    if names & _ANIMATING or styled(lambda text: "@keyframes" in text):
        yield "The drawing is animated; it is drawn without animation."
    if "script" in names:
        yield "Scripts in the drawing aren't run."
    if styled(lambda text: "@font-face" in text):
        yield "Fonts embedded in the drawing (@font-face) aren't used."
    if styled(_CLIPPED.search) or any(_CLIPPING.match(element.get("clip-path", "")) for element in elements):
        yield "Clipping by basic shapes, such as circle(), isn't applied."
    if left_out := sum(1 for element in elements if local_name(element) != "a" and any(outside(element))):
        yield f"References to other files are ignored: {left_out}."
    if has_emoji_sequences(root) and needs_pango(root):
        yield "Emoji are drawn without colours because some consist of several characters."


def _style(element: Element) -> str:
    return "".join(element.itertext()) if local_name(element) == "style" else element.get("style", "")
