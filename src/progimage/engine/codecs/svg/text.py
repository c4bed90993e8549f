"""Requirements of texts in a drawing: fonts and shaping."""

import re
from xml.etree.ElementTree import Element, SubElement

from progimage.engine.codecs.svg.document import SVG, local_name
from progimage.engine.fonts import EMOJI

_GENERIC = {"serif", "sans-serif", "monospace", "cursive", "fantasy", "inherit", "initial", "unset", "revert"}
_SERIF = re.compile(r"times|georgia|garamond|palatino|cambria|bookman|baskerville|didot|(?<!sans[ -])serif", re.I)
_MONO = re.compile(r"mono|courier|consolas|menlo|monaco|code|terminal|typewriter", re.I)
# Latin, Greek, Cyrillic; punctuation, currencies, symbols and arrows without emoji; Chinese, Japanese, Korean.
_LETTER_BY_LETTER = re.compile(
    r"[\0-\u052f\u1e00-\u200a\u2010-\u2029\u202f-\u205f\u20a0-\u20cf\u2100-\u2319\u2320-\u23e8\u2400-\u25fc"
    r"\u25ff-\u2605\u2660-\u2668\u2713-\u2718\u2776-\u2794\u2798-\u27af\u27c0-\u2b1a\u2e00-\u302f\u3031-\u3096"
    r"\u309b-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufb00-\ufb06\uff00-\uffef\U00020000-\U0003ffff]*"
)
_AS_EMOJI = "\ufe0f"
# Emoji of one character: Unicode's Emoji_Presentation without flags and skin tones, and characters with a selector.
_EMOJI = re.compile(
    r"[\u231a\u231b\u23e9-\u23ec\u23f0\u23f3\u25fd\u25fe\u2614\u2615\u2648-\u2653\u267f\u2693\u26a1\u26aa\u26ab\u26bd"
    r"\u26be\u26c4\u26c5\u26ce\u26d4\u26ea\u26f2\u26f3\u26f5\u26fa\u26fd\u2705\u270a\u270b\u2728\u274c\u274e\u2753-\u2755"
    r"\u2757\u2795-\u2797\u27b0\u27bf\u2b1b\u2b1c\u2b50\u2b55\U0001f004\U0001f0cf\U0001f18e\U0001f191-\U0001f19a"
    r"\U0001f201-\U0001f265\U0001f300-\U0001f3fa\U0001f400-\U0001f64f\U0001f680-\U0001f6ff\U0001f7e0-\U0001f7eb"
    r"\U0001f900-\U0001f9ff\U0001fa70-\U0001faff]+\ufe0f*|(?:[^\0-\x7f]\ufe0f)+"
)
_JOINING = re.compile(
    r"[0-9#*]\ufe0f?\u20e3|[\U0001f1e6-\U0001f1ff]{2}|[\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]|\u200d[^\0-\u2100]"
)
"""Characters that form an emoji of several characters: keycaps, flags, skin tones, joiners."""
_SAYING = {"text", "tspan", "textPath", "a"}
_MOST_SHAPED = 500_000
"""Maximum number of characters to shape. resvg shapes the whole text again for each part; this many take 0.7 s."""


def name_generic_fonts(root: Element) -> None:
    """Append to each list of font families in a drawing the generic family that browsers would use."""
    for element in root.iter():
        if family := element.get("font-family"):
            element.set("font-family", _ending_generic(family))


def needs_pango(root: Element) -> bool:
    """Return whether a text has letters or emoji of several characters, is right-to-left, or has many parts.

    Text that librsvg can't lay out, such as text on a path, is left to resvg nevertheless, if it has few parts.
    """
    texts = list(root.iter(f"{SVG}text"))
    if any(map(_has_many_parts, texts)):
        return True
    return any(map(_is_shaped, texts)) and not any(map(_is_laid_out, texts))


def has_emoji_sequences(root: Element) -> bool:
    """Return whether a text has emoji of several characters."""
    return any(_JOINING.search("".join(text.itertext())) for text in root.iter(f"{SVG}text"))


def _is_shaped(text: Element) -> bool:
    return not _LETTER_BY_LETTER.fullmatch(_EMOJI.sub("", "".join(text.itertext())))


def _is_laid_out(text: Element) -> bool:
    return any(
        local_name(part) == "textPath"
        or "textLength" in part.attrib
        or "rotate" in part.attrib
        or any(len(re.findall(r"[^\s,]+", part.get(name, ""))) > 1 for name in ("x", "y", "dx", "dy"))
        for part in text.iter()
    )


def _has_many_parts(text: Element) -> bool:
    said = "".join(text.itertext())
    # Parts with their own position start a new text chunk.
    joined = sum(1 for part in text.iter() if "x" not in part.attrib and "y" not in part.attrib)
    return (joined + len(_EMOJI.findall(said))) * len(said) > _MOST_SHAPED


def colour_emoji(root: Element) -> None:
    """Set the colour emoji font for each emoji in the texts of a drawing."""
    for text in list(root.iter(f"{SVG}text")):
        if _EMOJI.search("".join(text.itertext())):
            for element in list(text.iter()):
                if local_name(element) in _SAYING:
                    _set_emoji_apart(element)


def _set_emoji_apart(element: Element) -> None:
    parts: list[str | Element] = [element.text or ""]
    for child in element:
        parts += [child, child.tail or ""]
    element[:] = []
    element.text = ""
    for part in parts:
        if isinstance(part, Element):
            part.tail = ""
            element.append(part)
            continue
        end = 0
        for found in _EMOJI.finditer(part):
            _say(element, part[end : found.start()])
            # Not a tspan, which style sheets can refer to.
            emoji = SubElement(element, f"{SVG}a", {"style": f"font-family:'{EMOJI}'"})
            emoji.text = found[0].replace(_AS_EMOJI, "")
            end = found.end()
        _say(element, part[end:])


def _say(element: Element, text: str) -> None:
    if len(element):
        element[-1].tail = (element[-1].tail or "") + text
    else:
        element.text = (element.text or "") + text


def _ending_generic(families: str) -> str:
    names = [name.strip(" \t\r\n\"'") for name in families.split(",")]
    if names[-1].lower() in _GENERIC:
        return families
    generic = "monospace" if _MONO.search(families) else "serif" if _SERIF.search(families) else "sans-serif"
    return f"{families.rstrip()}, {generic}"
