"""Pictures to files: the formats with their limits, the encoding, and writing a file whole or not at all."""

from __future__ import annotations

import errno
import io
import os
import stat
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, PngImagePlugin, WebPImagePlugin  # noqa: F401 - else the first imports all forty

from dicom_series_preview.base.errors import LimitError, OutputError, RequestError, quoted
from dicom_series_preview.sources.storage.files import temporary_beside

if TYPE_CHECKING:
    import numpy.typing as npt

# Chosen by bytes at the same SSIM, which benchmarks/encoders.py measures (docs/decisions/0022).
# 5 needs 1 % less than 4 for a tenth more time, 6 another 1 to 2 % less for twice the time, 2 a tenth more.
_WEBP_METHOD = 5

# Chroma at full resolution from this quality on; below it, half of it in both directions is not seen.
_JPEG_FULL_CHROMA_QUALITY = 90
_JPEG_FULL_CHROMA = 0
_JPEG_HALVED_CHROMA = 2

# Up to this quality, Huffman tables are made for the picture. Pillow gives such a file a byte a pixel of
# room, and fails where that is too little ("Suspension not allowed here"): what compresses least takes 0.85
# at 80, and more than 1 from 89 on.
_JPEG_OPTIMISED_QUALITY = 80
# libjpeg then holds the whole picture as coefficients, two bytes a pixel and more; a larger one is streamed.
_JPEG_OPTIMISED_PIXELS = 1 << 24
# zlib's level: from 1 to 6 a mosaic shrinks by a tenth in the same time, to 9 by 1 % for six times that.
_PNG_LEVEL = 6
# Several scans spare 3 % of a mosaic's bytes; in a small picture their headers cost more than that.
_JPEG_PROGRESSIVE_PIXELS = 1 << 16

_PLAIN_WORDS = {
    errno.ENOENT: "there is no such folder",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.EACCES: "no permission to write there",
    errno.EPERM: "no permission to write there",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space is left on the device",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file is larger than is allowed here",
    errno.EISDIR: "is a folder, not a file",
}


class ImageFormat(Enum):
    """A format that pictures are written in.

    Attributes:
        pillow_name: What Pillow calls it.
        extensions: File name extensions, lower case, the usual one first.
        media_type: The media type (RFC 9649, RFC 2046).
        largest_side: The greatest width and height in pixels. JPEG's own is 65535; libjpeg stops at 65500.
            PNG allows two thousand million, which its readers do not: it has JPEG's.
        default_quality: The quality where none is asked for. JPEG needs 50 to show what WebP shows at 25. A
            format that loses nothing has the best, and no other.
        lossless: Whether every pixel is kept as it is.
    """

    WEBP = ("WEBP", (".webp",), "image/webp", 16383, 25)
    JPEG = ("JPEG", (".jpg", ".jpeg"), "image/jpeg", 65500, 50)
    PNG = ("PNG", (".png",), "image/png", 65500, 100)

    def __init__(
        self,
        pillow_name: str,
        extensions: tuple[str, ...],
        media_type: str,
        largest_side: int,
        default_quality: int,
    ) -> None:
        self.pillow_name = pillow_name
        self.extensions = extensions
        self.media_type = media_type
        self.largest_side = largest_side
        self.default_quality = default_quality

    @property
    def lossless(self) -> bool:
        """As above."""
        return self is ImageFormat.PNG

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> ImageFormat:
        """The format that a file's extension asks for, in any case of letters.

        Raises:
            RequestError: No extension, or another one.
        """
        extension = Path(path).suffix
        for image_format in cls:
            if extension.lower() in image_format.extensions:
                return image_format
        found = f"{quoted(extension)} is not an extension it can have" if extension else "it has no extension"
        raise RequestError("output", f"{found}; use {_listed(_extensions())}")

    @classmethod
    def from_name(cls, text: str, parameter: str = "output") -> ImageFormat:
        """The format of a name, `webp`, `jpg`, `jpeg` or `png`, in any case of letters.

        Args:
            text: The name.
            parameter: The parameter that an error speaks of.

        Raises:
            RequestError: Another name.
        """
        for image_format in cls:
            if f".{text.lower()}" in image_format.extensions:
                return image_format
        raise RequestError(parameter, f"{quoted(text)} is not a format; use {_listed(format_names())}")

    def is_whole(self, data: bytes) -> bool:
        """Whether bytes are a file of this format to its end; nothing is decoded."""
        if self is ImageFormat.WEBP:
            length = int.from_bytes(data[4:8], "little") + 8
            return data.startswith(b"RIFF") and data[8:12] == b"WEBP" and length == len(data)
        if self is ImageFormat.PNG:
            return data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"\0\0\0\0IEND\xaeB`\x82")
        return data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")

    def check_size(self, width: int, height: int, max_pixels: int) -> None:
        """Refuse a picture that could not be written or is too large, before anything is read for it.

        Args:
            width: In pixels.
            height: In pixels.
            max_pixels: The product's limit.

        Raises:
            LimitError: A side is longer than the format allows, or the product allows fewer pixels.
        """
        lower = "lower `image_width`, `tile_width` or `tile_height`"
        if max(width, height) > self.largest_side:
            roomier = [
                other.extensions[0] for other in ImageFormat if max(width, height) <= other.largest_side
            ]
            instead = f", or write {_listed(roomier)}" if roomier else ""
            raise LimitError(
                "image_width",
                f"the picture would be {width} x {height} pixels, and {self.pillow_name} allows "
                f"{self.largest_side} a side; {lower}{instead}",
            )
        if width * height > max_pixels:
            raise LimitError(
                "image_width",
                f"the picture would be {width} x {height} pixels, more than {max_pixels} in all; {lower}",
            )


def encode(image: npt.NDArray[np.uint8], image_format: ImageFormat, quality: int) -> bytes:
    """Encode a picture: the same picture, format and quality give the same bytes, which hold only pixels.

    Grey stays grey: JPEG and PNG get one channel. WebP has no such thing; its chroma is neutral, and
    decoders' rounding leaves green at most one level below red and blue.

    Args:
        image: uint8 (H, W) grey or (H, W, 3) RGB.
        image_format: The format.
        quality: 0 (smallest) to 100 (best); of no meaning where the format loses nothing.

    Raises:
        RequestError: The quality is none.
        LimitError: The format cannot hold a picture of this size.
        ValueError: The array is no picture.
    """
    if isinstance(quality, bool) or not isinstance(quality, int) or not 0 <= quality <= 100:
        raise RequestError("quality", f"must be a whole number from 0 to 100, not {quality!r}")
    if (
        image.dtype != np.uint8
        or image.ndim not in (2, 3)
        or image.shape[2:] not in ((), (3,))
        or not image.size
    ):
        raise ValueError(f"a picture is uint8 (H, W) or (H, W, 3), not {image.dtype} {image.shape}")
    height, width = image.shape[:2]
    image_format.check_size(width, height, max_pixels=width * height)
    stream = io.BytesIO()
    picture = Image.fromarray(image)
    if image_format is ImageFormat.WEBP:
        picture.save(stream, "WEBP", quality=quality, method=_WEBP_METHOD)
    elif image_format is ImageFormat.PNG:
        picture.save(stream, "PNG", compress_level=_PNG_LEVEL)
    else:
        picture.save(stream, "JPEG", quality=quality, **_jpeg_options(quality, width * height))
    return stream.getvalue()


def _jpeg_options(quality: int, pixels: int) -> dict[str, int | bool]:
    full = quality >= _JPEG_FULL_CHROMA_QUALITY
    optimised = quality <= _JPEG_OPTIMISED_QUALITY and pixels <= _JPEG_OPTIMISED_PIXELS
    return {
        "subsampling": _JPEG_FULL_CHROMA if full else _JPEG_HALVED_CHROMA,
        "optimize": optimised,
        "progressive": optimised and pixels >= _JPEG_PROGRESSIVE_PIXELS,
    }


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole or not at all.

    The bytes go to a new file of a random name in the same folder, which then takes the place of the old one.
    A symbolic link stays, and what it points to is written. A new file's permissions follow the umask; a file
    that is replaced keeps its own.

    Raises:
        OutputError: It cannot be written; nothing is left behind, and an older file is as it was.
    """
    try:
        target = Path(os.path.realpath(path))
        mode = _replaceable_mode(target)
        temporary = temporary_beside(target)
        # The kernel applies the umask; reading it to apply it ourselves would change it for other threads.
        descriptor = os.open(
            temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666
        )
        try:
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(data)
                stream.flush()
                os.fsync(descriptor)
            if mode is not None and mode != stat.S_IMODE(temporary.stat().st_mode):
                temporary.chmod(mode)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)  # it is the target now, unless something failed
    except OSError as error:
        problem = _PLAIN_WORDS.get(error.errno or 0) or (error.strerror or "cannot be written").lower()
        raise OutputError(str(path), problem) from error


def _replaceable_mode(target: Path) -> int | None:
    """The permissions of the file that will be replaced, None where there is none yet."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if stat.S_ISDIR(status.st_mode):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    if not stat.S_ISREG(status.st_mode):
        # To replace a device or a pipe by a file would harm more than this file.
        raise OSError(errno.EINVAL, "is a device or a pipe, not a file")
    return stat.S_IMODE(status.st_mode)


def format_names() -> list[str]:
    """What the formats are called: their extensions without the dot."""
    return [extension.removeprefix(".") for extension in _extensions()]


def _extensions() -> list[str]:
    return [extension for image_format in ImageFormat for extension in image_format.extensions]


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
