"""The documents of images have the same members on both sides of HTTP."""

from dataclasses import fields

from progimage.client import Image
from progimage.engine import ImageInfo
from progimage.schemas import ImageRecord, InspectedImage, OwnImageRecord

DESCRIPTION = [one.name for one in fields(ImageInfo) if one.name != "inspection"]


def test_a_record_and_a_description_have_all_that_is_known_of_an_image() -> None:
    for document in (ImageRecord, OwnImageRecord, InspectedImage):
        assert set(DESCRIPTION) <= set(document.__struct_fields__), document


def test_the_client_reads_every_member_of_a_record() -> None:
    assert set(OwnImageRecord.__struct_fields__) == set(Image.__struct_fields__)
