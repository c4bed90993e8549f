"""Renditions are upright, whatever says how the original is turned: each two of kind, orientation, format and `keep`.

`make conformance` has all of them together (`tests/conformance/test_orientation.py`).
"""

import pytest

from tests.conformance import making
from tests.conformance.orientation import KINDS, ORIENTATIONS, OUTPUTS, keeps, pairs, upright_size, what_is_wrong
from tests.integration.server import Server

_KEEPS = ("strip", "keep=exif", "keep=xmp", "keep=icc", "keep=exif,xmp,icc")
_SOME = [
    (KINDS[kind], ORIENTATIONS[orientation], OUTPUTS[output], _KEEPS[keep])
    for kind, orientation, output, keep in pairs(KINDS, ORIENTATIONS, OUTPUTS, _KEEPS)
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_upright(server: Server, kind: object) -> None:
    wrong = []
    for of, orientation, output, keep in _SOME:
        if of is kind:
            reference = server.put(of.make(orientation))
            known = keeps(output)
            found = what_is_wrong(server, reference, output, keep if keep in known else known[-1])
            wrong += [f"{orientation} as {output} with {keep}: {found}"] if found else []
            if upright_size(server, reference) != (making.WIDTH, making.HEIGHT):
                wrong.append(f"{orientation}: /info tells another size")
    assert not wrong
