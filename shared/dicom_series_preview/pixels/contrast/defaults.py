"""The window of an image whose file names none, chosen by what it shows (docs/decisions/0009)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dicom_series_preview.base.image import Window
from dicom_series_preview.pixels.contrast.presets import PRESETS

if TYPE_CHECKING:
    from dicom_series_preview.base.image import Contrast
    from dicom_series_preview.pixels.contrast.auto import AutoWindow

# Air has -1000 HU: if it cannot be stored, values are no Hounsfield units.
_AIR_HU = -1000.0

# Words of ImageType and FrameType for CT in other units (PS3.3 C.8.2.1.1.1, C.8.15.2.1.1.5): localizers,
# results of arithmetic, perfusion maps, material maps.
_NOT_HOUNSFIELD = frozenset(
    (
        *("LOCALIZER", "SCOUT", "TOPOGRAM"),
        *("SUBTRACTION", "DIVISION", "MULTIPLICATION", "STD_DEVIATION", "QUANTITY"),
        *("CBF", "CBV", "RCBF", "RCBV", "MTT", "TTP", "TMAX", "PERMEABILITY"),
        *("MAT_SPECIFIC", "MAT_FRACTIONAL", "MAT_VALUE_BASED", "EFF_ATOMIC_NUM", "ELECTRON_DENSITY"),
    )
)

# BodyPartExamined's terms and the region names of CID 4031 (PS3.16 L), letters only. Anything with SPINE is
# bone.
_BRAIN = frozenset(("HEAD", "BRAIN", "CEREBELLUM", "CEREBRUM", "ENTIREHEAD"))
_LUNG = frozenset(("LUNG", "LUNGS", "BRONCHUS"))
_BONE = frozenset(
    (
        *("SKULL", "FACE", "FACIALBONES", "SINUS", "SINUSES", "PARANASALSINUS", "PARANASALSINUSES", "NOSE"),
        *("MAXILLA", "MANDIBLE", "JAW", "JAWREGION", "TMJ", "TEMPOROMANDIBULARJOINT", "ZYGOMA", "TEETH"),
        *("EAR", "IAC", "INTERNALAUDITORYCANAL", "TEMPORALBONE", "PETROUSBONE", "MASTOID", "MASTOIDBONE"),
        *(
            "SACRUM",
            "SIJOINT",
            "SACROILIACJOINT",
            "COCCYX",
            "ILIUM",
            "RIB",
            "RIBS",
            "STERNUM",
            "CLAVICLE",
            "SCAPULA",
            "SHOULDER",
        ),
        *("EXTREMITY", "UPPEREXTREMITY", "LOWEREXTREMITY", "UPPERLIMB", "LOWERLIMB", "JOINT"),
        *("ARM", "UPPERARM", "HUMERUS", "ELBOW", "FOREARM", "RADIUS", "ULNA", "RADIUSULNA"),
        *("WRIST", "HAND", "FINGER", "THUMB", "HIP", "HIPJOINT", "FEMUR", "THIGH", "KNEE", "PATELLA"),
        *("LEG", "LOWERLEG", "CALF", "TIBIA", "FIBULA", "TIBIAFIBULA", "ANKLE", "ANKLEJOINT"),
        *("CALCANEUS", "FOOT", "TOE"),
    )
)

# These count from zero: activity up to where the hottest spots, such as the bladder, would darken all else;
# doses and segments up to the highest.
_UPTAKE = frozenset(("PT", "NM"))
_UPTAKE_PERCENT = 99.5
_FROM_ZERO = frozenset(("RTDOSE", "SEG"))
# The device itself renders these to 8 bits, ready for display.
_AS_STORED = frozenset(("US", "IVUS", "ES", "OP", "OPT", "XC", "GM", "SM"))
_DISPLAY_RANGE = (0, 255)


def rule_of(contrast: Contrast) -> str:
    """Name the rule for the window of a slice that has neither window nor VOI LUT.

    Returns:
        A preset, `uptake`, `from-zero` or `as-stored`; empty for the automatic window, which also takes over
        where the pixels do not suit the rule.
    """
    content = contrast.content
    if is_hounsfield(contrast):
        return ct_preset(content.body_part)
    if content.modality in _UPTAKE:
        return "uptake"
    if content.modality in _FROM_ZERO:
        return "from-zero"
    is_ready = content.stored_range == _DISPLAY_RANGE and not _is_changed(contrast)
    return "as-stored" if content.modality in _AS_STORED and is_ready else ""


def default_window(contrast: Contrast, pooled: AutoWindow) -> tuple[str, Window] | None:
    """Return the window, and its name, of a slice that has neither window nor VOI LUT.

    Args:
        contrast: The slice's own contrast.
        pooled: The statistics of all shown slices, so that these compare. A header's window that would show
            none of the values does not count.

    Returns:
        None where the automatic window is best.
    """
    return window_of_rule(rule_of(contrast), pooled, contrast.content.full_fraction)


def window_of_rule(
    rule: str, pooled: AutoWindow, full_fraction: int | None = None
) -> tuple[str, Window] | None:
    """Return the window, and its name, that a rule gives; see `default_window`.

    Args:
        rule: See `rule_of`.
        pooled: The statistics of all shown slices.
        full_fraction: MaximumFractionalValue (0062,000E) of a fractional segmentation, or None.
    """
    extremes = pooled.percentiles(0.0, 100.0)
    if extremes is None:
        return None
    minimum, maximum = extremes
    if rule in PRESETS:
        return _hounsfield(rule, pooled)
    if rule == "uptake":
        return _uptake(pooled)
    if rule == "from-zero":
        return _between(rule, min(minimum, 0.0), maximum if full_fraction is None else float(full_fraction))
    # Values below half the range are counts or labels, not shades.
    is_shown = rule == "as-stored" and maximum > _DISPLAY_RANGE[1] / 2
    return _between(rule, *_DISPLAY_RANGE) if is_shown else None


def is_hounsfield(contrast: Contrast) -> bool:
    """Return True where an instance declares modality values as Hounsfield units (PS3.3 C.8.2.1).

    RescaleType is there "if not HU", and original images that are no localizers "shall be" HU. Many images
    called CT hold something else, so we require a rescale that leaves room for air.
    """
    content = contrast.content
    if content.modality != "CT" or content.rescale_type not in ("", "HU"):
        return False
    if not _NOT_HOUNSFIELD.isdisjoint(word.upper() for word in content.image_type):
        return False
    if not content.is_rescaled or contrast.modality_lut is not None or content.stored_range is None:
        return False
    ends = [end * contrast.rescale_slope + contrast.rescale_intercept for end in content.stored_range]
    return min(ends) <= _AIR_HU and max(ends) > 0


def ct_preset(body_part: str) -> str:
    """Return the preset for a part of the body: the name of a CT window in Hounsfield units."""
    name = "".join(letter for letter in body_part.upper() if letter.isalpha())
    if name in _BRAIN:
        return "ct-brain"
    if name in _LUNG:
        return "ct-lung"
    if name in _BONE or "SPINE" in name:
        return "ct-bone"
    return "ct-soft-tissue"


def _hounsfield(name: str, pooled: AutoWindow) -> tuple[str, Window] | None:
    width, center = PRESETS[name]
    # A slice of mostly air should be dark; a thousandth of its pixels is still patient.
    found = pooled.percentiles(0.1, 99.9)
    if found is None or found[1] <= center - width / 2 or found[0] >= center + width / 2:
        return None
    return name, Window(center, width)


def _uptake(pooled: AutoWindow) -> tuple[str, Window] | None:
    found = pooled.percentiles(_UPTAKE_PERCENT, 100.0)
    if found is None:
        return None
    high, maximum = found
    return _between("uptake", 0.0, high if high > 0 else maximum)


def _between(name: str, low: float, high: float) -> tuple[str, Window] | None:
    return (name, Window((low + high) / 2, high - low)) if low < high else None


def _is_changed(contrast: Contrast) -> bool:
    """Return True where modality values differ from stored ones."""
    return (contrast.rescale_slope, contrast.rescale_intercept, contrast.modality_lut) != (1.0, 0.0, None)
