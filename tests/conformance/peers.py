"""What others make of the same object: display values of pydicom, highdicom and dcmtk, 0..255.

A peer that has no picture of an object, or none of its own window, says so with `Refused`.
"""

import io
import shutil
import subprocess
import warnings
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydicom import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.pixels import apply_modality_lut, apply_voi_lut, decoders

from conformance.truth import Frame
from dicom_series_preview.pixels.codecs.colour import is_colour
from dicom_series_preview.pixels.contrast.auto import AutoWindow
from dicom_series_preview.pixels.contrast.modality import padding_mask
from dicom_series_preview.pixels.contrast.render import is_inverted, render
from dicom_series_preview.pixels.contrast.resolve import Applied, resolve
from dicom_series_preview.pixels.contrast.spec import DEFAULT
from dicom_series_preview.pixels.decoded import Decoded

PEERS = ("pydicom", "highdicom", "dcmtk")


class Refused(Exception):  # noqa: N818 - it is no error
    """A peer has nothing to compare with."""


def ours(frame: Frame) -> tuple[NDArray[np.uint8], NDArray[np.bool_], Applied]:
    """The display values under the file's own view, which of them are no padding, and the view.

    Raises:
        Refused: It is a colour image, is not decoded, or has no view of its own.
    """
    if frame.samples is None or is_colour(frame.slice.pixels):
        raise Refused("no grey image")
    contrast = frame.slice.contrast
    applied = resolve(DEFAULT, contrast, AutoWindow())
    if applied.kind != "embedded":
        raise Refused("no view of its own")
    decoded = Decoded(frame.samples, frame.photometric_interpretation)
    levels = render(decoded, frame.slice.pixels, contrast, applied)
    padding = padding_mask(frame.samples, contrast)
    return levels, np.ones(levels.shape, bool) if padding is None else ~padding, applied


def pydicom_levels(frame: Frame, data: Dataset) -> NDArray[np.int64]:
    """Values after the modality and VOI steps of pydicom, its output range scaled to 0..255.

    It has no inversion, so ours is put behind.
    """
    if frame.samples is None or "BitsStored" not in data:
        raise Refused("it takes integers only")
    if not {"WindowWidth", "VOILUTSequence"} & {element.keyword for element in data}:
        raise Refused("it takes views of the root only")
    with np.errstate(over="ignore"):  # of the sigmoid's exponential far from its center
        values = apply_voi_lut(apply_modality_lut(frame.samples, data), data).astype(np.float64)
    bits, signed = int(data.BitsStored), int(data.PixelRepresentation)
    low, high = (-(2 ** (bits - 1)), 2 ** (bits - 1) - 1) if signed else (0, 2**bits - 1)
    if "VOILUTSequence" in data:
        low, high = 0, 2 ** data.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif "ModalityLUTSequence" in data:
        low, high = 0, 2 ** data.ModalityLUTSequence[0].LUTDescriptor[2] - 1
    elif "RescaleSlope" in data:
        low, high = (x * float(data.RescaleSlope) + float(data.RescaleIntercept) for x in (low, high))
    levels = _rounded((values - low) / (high - low) * 255)
    return 255 - levels if is_inverted(frame.slice.pixels, frame.slice.contrast) else levels


def highdicom_levels(path: Path) -> NDArray[np.int64]:
    """The frame of highdicom with its modality, VOI and presentation steps."""
    # Nobody else needs it, and it is a second to import.
    import highdicom  # noqa: PLC0415

    _decode_without_gdcm()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            image = highdicom.imread(path)
            values = image.get_frame(
                1, apply_voi_transform=True, voi_output_range=(0.0, 255.0), dtype=np.float64
            )
    except (RuntimeError, ValueError, AttributeError, InvalidDicomError) as error:
        raise Refused(str(error).splitlines()[0]) from error
    return _rounded(values)


def _decode_without_gdcm() -> None:
    """Let pydicom, which decodes for highdicom, read as much where GDCM is installed as where it is not."""
    for decoder in vars(decoders).values():
        if isinstance(decoder, decoders.base.Decoder) and "gdcm" in decoder.available_plugins:
            decoder.remove_plugin("gdcm")


def dcmtk_levels(path: Path, applied: Applied) -> NDArray[np.int64]:
    """A rendering by dcmtk of the first frame through the first window or VOI LUT, without overlays."""
    view = "+Wl" if applied.function == "LUT" else "+Wi"
    reason = ""
    for tool in ("dcmj2pnm", "dcml2pnm"):
        command = [tool, "-O", "+F", "1", view, "1", str(path)]
        done = subprocess.run(command, capture_output=True, check=False)
        message = done.stderr.decode(errors="replace").strip()
        if done.returncode == 0 and "cannot select VOI" not in message:
            with Image.open(io.BytesIO(done.stdout)) as picture:
                return np.asarray(picture).astype(np.int64)
        reason = message.splitlines()[-1] if message else f"{tool} ended with {done.returncode}"
    raise Refused(reason)


def missing(peer: str) -> str:
    """Why a peer cannot be asked, or empty."""
    if peer == "dcmtk" and not (shutil.which("dcmj2pnm") and shutil.which("dcml2pnm")):
        return "dcmtk is not installed (Debian: dcmtk)"
    return ""


def levels_of(peer: str, frame: Frame, data: Dataset, path: Path, applied: Applied) -> NDArray[np.int64]:
    """A peer's display values.

    Raises:
        Refused: It has none.
    """
    ask = {
        "pydicom": lambda: pydicom_levels(frame, data),
        "highdicom": lambda: highdicom_levels(path),
        "dcmtk": lambda: dcmtk_levels(path, applied),
    }
    return ask[peer]()


def _rounded(levels: NDArray[np.float64]) -> NDArray[np.int64]:
    """Half up, as we do; the peers leave this step to their users."""
    return np.floor(levels + 0.5).astype(np.int64)
