"""The formats of pictures and their limits, in a module that loads no drawing or encoding code."""

from __future__ import annotations

from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from dicom_series_preview.base.errors import LimitError, RequestError, quoted

if TYPE_CHECKING:
    import os

Format: TypeAlias = Literal["webp", "jpg", "jpeg", "png"]
"""A format's name: an extension without its dot."""


class ImageFormat(Enum):
    """A format of pictures.

    Attributes:
        pillow_name: Pillow's name for it.
        extensions: File name extensions, lower case, the usual one first.
        media_type: The media type (RFC 9649, RFC 2046).
        largest_side: The greatest width and height in pixels. JPEG allows 65535, libjpeg 65500. PNG allows
            two thousand million, but its readers do not: it gets JPEG's.
        default_quality: The default quality. JPEG needs 50 to match WebP at 25. A lossless format has only
            the best.
        lossless: True where every pixel is kept exactly.
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
        """True where every pixel is kept exactly."""
        return self is ImageFormat.PNG

    @classmethod
    def from_path(cls, path: str | os.PathLike[str]) -> ImageFormat:
        """Return the format of a file's extension, in upper or lower case.

        Raises:
            RequestError: The extension is missing or unknown.
        """
        extension = Path(path).suffix
        for image_format in cls:
            if extension.lower() in image_format.extensions:
                return image_format
        found = f"{quoted(extension)} is not an extension it can have" if extension else "it has no extension"
        raise RequestError("output", f"{found}; use {_listed(_extensions())}")

    @classmethod
    def from_name(cls, text: str, parameter: str = "output") -> ImageFormat:
        """Return the format named `webp`, `jpg`, `jpeg` or `png`, in upper or lower case.

        Args:
            text: The name.
            parameter: The parameter to name in an error.

        Raises:
            RequestError: The name is unknown.
        """
        for image_format in cls:
            if f".{text.lower()}" in image_format.extensions:
                return image_format
        raise RequestError(parameter, f"{quoted(text)} is not a format; use {_listed(format_names())}")

    def is_whole(self, data: bytes) -> bool:
        """Return True where bytes are a complete file of this format; nothing is decoded."""
        if self is ImageFormat.WEBP:
            length = int.from_bytes(data[4:8], "little") + 8
            return data.startswith(b"RIFF") and data[8:12] == b"WEBP" and length == len(data)
        if self is ImageFormat.PNG:
            return data.startswith(b"\x89PNG\r\n\x1a\n") and data.endswith(b"\0\0\0\0IEND\xaeB`\x82")
        return data.startswith(b"\xff\xd8\xff") and data.endswith(b"\xff\xd9")

    def check_size(self, width: int, height: int, max_pixels: int) -> None:
        """Refuse a picture that the format or the product cannot hold, before anything is read for it.

        Args:
            width: Its width in pixels.
            height: Its height in pixels.
            max_pixels: The product's limit of pixels.

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


def format_names() -> list[str]:
    """List the formats' names: their extensions without the dot."""
    return [extension.removeprefix(".") for extension in _extensions()]


def _extensions() -> list[str]:
    return [extension for image_format in ImageFormat for extension in image_format.extensions]


def _listed(words: list[str]) -> str:
    return f"{', '.join(words[:-1])} or {words[-1]}"
