"""Formats that are recognised but not supported, so that error messages can name them.

To add a format, add a line to `_BEGINNINGS`, or to `_BRANDS` if its files consist of boxes. Remove it once the format
is supported.
"""

import re

_BEGINNINGS: tuple[tuple[str, str], ...] = (
    (r"\x00\x00\x00\x0cJXS |\xff\x10\xff\x50", "a JPEG XS"),
    (r"\x97JB2\r\n\x1a\n", "a JBIG2"),
    (r"FLIF", "a FLIF"),
    (r"BPG\xfb", "a BPG"),
    (r"gimp xcf ", "a GIMP image (XCF)"),
    (r"AT&TFORM....DJV", "a DjVu"),
    (r"%!PS|\x04%!PS|\xc5\xd0\xd3\xc6", "a PostScript"),
    (r"%PDF-|.{1,1000}\n%PDF-", "a PDF"),
    (r"\xd7\xcd\xc6\x9a|\x01\x00\x09\x00\x00[\x01\x03]", "a Windows metafile (WMF)"),
    (r"\x01\x00\x00\x00.{36} EMF", "an enhanced metafile (EMF)"),
    (r"\x8aMNG\r\n\x1a\n", "an MNG animation"),
    (r"\x8bJNG\r\n\x1a\n", "a JNG image"),
    (r"\x00\x00\x00[\x28-\xff]\x00\x00\x00\x07\x00\x00\x00[\x00-\x02]", "an X window dump (XWD)"),
    (r".{128}DICM", "a DICOM"),
    (r"NITF0|NSIF0", "a NITF"),
    (r"SDPX|XPDS", "a DPX"),
    (r"\x80\x2a\x5f\xd7", "a Cineon"),
    (r"\xabKTX [12][10]\xbb\r\n\x1a\n", "a Khronos texture (KTX)"),
    (r"\x13\xab\xa1\x5c", "an ASTC texture"),
    (r"PVR\x03", "a PVR texture"),
    (r"VTF\x00", "a Valve texture (VTF)"),
    (r"FOVb", "a Sigma raw (X3F)"),
    (r"\x00MRM", "a Minolta raw (MRW)"),
    (r"\x00\xffKA", "an Affinity document"),
    (r"CPT(FILE|7FILE|9FILE)", "a Corel Photo-Paint"),
    (r"RIFF....CDR", "a CorelDRAW"),
    (r"Paint Shop Pro Image File\n\x1a", "a Paint Shop Pro image"),
    (r"PK.{28}mimetypeapplication/x-krita", "a Krita document"),
    (r"PK.{28}mimetypeimage/openraster", "an OpenRaster"),
    (r"PK.{28}mimetypeapplication/vnd\.oasis\.opendocument", "an OpenDocument"),
    (r"\x89HDF\r\n\x1a\n|\x0e\x03\x13\x01", "an HDF"),
    (r"CDF[\x01\x02\x05]", "a NetCDF"),
    (r"LBLSIZE=", "a VICAR"),
    (r".{522}\x00\x11\x02\xff", "a QuickDraw picture (PICT)"),
    (r"FORM....(ILBM|PBM )", "an IFF image (ILBM)"),
    (r"BA.{4}\x00{4}|BA.{12}(BM|CI|CP|IC|PT)", "an OS/2 bitmap array"),
    (r"RIFF....ACON", "an animated cursor (ANI)"),
    (r"farbfeld", "a farbfeld"),
    (r"id=ImageMagick", "an ImageMagick image (MIFF)"),
    (r"\x5c\x01\x00\x00.{36}|\x00\x00\x01\x5c.{36}", "a NIfTI or Analyze volume"),
    (r"\x1c\x02\x00\x00n[+i]2\x00|\x00\x00\x02\x1cn[+i]2\x00", "a NIfTI volume"),
    (r"RIFF....AVI ", "an AVI video"),
    (r"RIFF....WAVE", "a WAVE audio file"),
    (r"\x1a\x45\xdf\xa3", "a WebM or Matroska video"),
    (r"FLV\x01", "a Flash video"),
    (r"[FCZ]WS[\x01-\x32]", "a Flash movie"),
    (r"\x00\x00\x01[\xba\xb3]", "an MPEG video"),
    (r"OggS", "an Ogg file"),
    (r"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "a Windows Media file"),
    (r"ID3|\xff[\xfb\xf3\xf2]", "an MP3 audio file"),
    (r"fLaC", "a FLAC audio file"),
    (r"PK\x03\x04.{26}(\[Content_Types\]\.xml|_rels/)", "an Office document"),
    (r"PK\x03\x04.{26}mimetypeapplication/epub", "an e-book (EPUB)"),
    (r"PK[\x03\x05]", "a ZIP archive"),
    (r"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a legacy Office document"),
    (r"Rar!\x1a\x07", "a RAR archive"),
    (r"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (r"\x1f\x8b", "a gzip archive"),
    (r"BZh[1-9]", "a bzip2 archive"),
    (r"\xfd7zXZ\x00", "an xz archive"),
    (r"\x28\xb5\x2f\xfd", "a Zstandard archive"),
    (r".{257}ustar", "a tar archive"),
    (r"\x7fELF", "a program"),
    (r"SQLite format 3\x00", "a SQLite database"),
    (r"(?:\xef\xbb\xbf)?\s*<(?i:!doctype html|html|head|body|script)[\s>]", "an HTML page"),
    (r"(?:\xef\xbb\xbf)?\s*<\?xml", "an XML document that isn't SVG"),
)
"""Pattern of the first bytes of each format, and its name with an article."""
_NAMED = tuple((re.compile(pattern.encode(), re.DOTALL), name) for pattern, name in _BEGINNINGS)
_BOX = re.compile(rb".{4}ftyp(.{4})", re.DOTALL)
_BRANDS: dict[bytes, str] = {
    b"qt  ": "a QuickTime video",
    b"isom": "an MP4 video",
    b"iso": "an MP4 video",
    b"mp4": "an MP4 video",
    b"avc1": "an MP4 video",
    b"dash": "an MP4 video",
    b"M4V": "an MP4 video",
    b"M4A": "an MPEG-4 audio file",
    b"MSNV": "an MP4 video",
    b"3gp": "a 3GPP video",
    b"3g2": "a 3GPP video",
    b"jpm ": "a compound JPEG 2000 (JPM)",
    b"mjp2": "a Motion JPEG 2000 video",
    b"vvic": "a HEIF with VVC",
    b"vvis": "a HEIF with VVC",
    b"evbi": "a HEIF with EVC",
    b"avci": "a HEIF with AVC",
    b"avcs": "a HEIF with AVC",
    b"j2ki": "a HEIF with JPEG 2000",
    b"jxsi": "a HEIF with JPEG XS",
    b"unif": "a HEIF with uncompressed pixels",
    b"mif1": "a HEIF with an unknown codec",
    b"msf1": "a HEIF sequence",
}
"""Prefixes of the major brand of files that consist of boxes (ISO/IEC 14496-12, 4.3)."""


def name_of_unread(head: bytes) -> str | None:
    """Return the name, with an article, of a recognised but unsupported format; None if it isn't recognised.

    Args:
        head: The first bytes of the file, or all of it.
    """
    found = _BOX.match(head)
    if found:
        return next((name for brand, name in _BRANDS.items() if found[1].startswith(brand)), None)
    return next((name for pattern, name in _NAMED if pattern.match(head)), None)
