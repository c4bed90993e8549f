"""Conditional processing of a drawing, by language and supported features."""

from xml.etree.ElementTree import Element

from progimage.engine.codecs.svg.document import SVG, local_name

_LANGUAGE = "en"
_CONDITIONS = ("systemLanguage", "requiredFeatures", "requiredExtensions")


def choose(root: Element) -> None:
    """Reduce each `switch` to the child to draw, so that all renderers draw the same.

    `foreignObject` isn't drawn, so it is chosen last. `requiredFeatures` always matches, as in browsers.

    Args:
        root: Root of the drawing, which is modified.
    """
    for element in list(root.iter()):
        if local_name(element) == "switch":
            fitting = [child for child in element if local_name(child) and _fits(child)]
            fitting.sort(key=lambda child: local_name(child) == "foreignObject")
            element.tag = f"{SVG}g"
            element[:] = fitting[:1]
        elif any("systemLanguage" in child.attrib for child in element):
            for child in list(element):
                if "systemLanguage" in child.attrib and not _fits(child):
                    child.set("display", "none")
    for element in root.iter():
        for condition in _CONDITIONS:
            element.attrib.pop(condition, None)


def _fits(element: Element) -> bool:
    if element.get("requiredExtensions", "").strip():
        return False
    languages = element.get("systemLanguage")
    return languages is None or any(
        language.strip().lower().split("-")[0] == _LANGUAGE for language in languages.split(",")
    )
