"""What the texts of a drawing need: fonts, and shaping."""

import re
from xml.etree.ElementTree import Element

from progimage.engine.codecs.svg.document import SVG, local_name

_GENERIC = {"serif", "sans-serif", "monospace", "cursive", "fantasy", "inherit", "initial", "unset", "revert"}
_SERIF = re.compile(r"times|georgia|garamond|palatino|cambria|bookman|baskerville|didot|minion|(?<!sans[ -])serif", re.I)
_MONO = re.compile(r"mono|courier|consolas|menlo|monaco|code|terminal|typewriter", re.I)
_DECLARATION = re.compile(r"(?<![\w-])(font(?:-family)?\s*:\s*)([^;{}]+)", re.IGNORECASE)
# Latin, Greek, Cyrillic; punctuation, currencies, symbols and arrows without emoji; Chinese, Japanese, Korean.
_LETTER_BY_LETTER = re.compile(
    r"[\0-\u052f\u1e00-\u200a\u2010-\u2029\u202f-\u205f\u20a0-\u20cf\u2100-\u2319\u2320-\u23e8\u2400-\u25fc"
    r"\u25ff-\u2605\u2660-\u2668\u2713-\u2718\u2776-\u2794\u2798-\u27af\u27c0-\u2b1a\u2e00-\u302f\u3031-\u3096"
    r"\u309b-\u4dbf\u4e00-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufb00-\ufb06\uff00-\uffef\U00020000-\U0003ffff]*"
)


def name_generic_fonts(root: Element) -> None:
    """Have each list of font families in a drawing end with the generic one that browsers would come to."""
    for element in root.iter():
        if family := element.get("font-family"):
            element.set("font-family", _ending_generic(family))
        if style := element.get("style"):
            element.set("style", _declared(style))
        if local_name(element) == "style" and element.text:
            element.text = _declared(element.text)


def needs_shaping(root: Element) -> bool:
    """Return whether there is a text with letters that are shaped together, written from right to left, or emoji."""
    return not all(_LETTER_BY_LETTER.fullmatch(said) for text in root.iter(f"{SVG}text") for said in text.itertext())


def _declared(css: str) -> str:
    return _DECLARATION.sub(lambda found: found[1] + _ending_generic(found[2]), css)


def _ending_generic(families: str) -> str:
    listed, important, _ = families.partition("!")
    names = [name.strip(" \t\r\n\"'") for name in listed.split(",")]
    if "var(" in listed or names[-1].lower() in _GENERIC:
        return families
    generic = "monospace" if _MONO.search(listed) else "serif" if _SERIF.search(listed) else "sans-serif"
    return f"{listed.rstrip()}, {generic}" + (" !important" if important else "")
