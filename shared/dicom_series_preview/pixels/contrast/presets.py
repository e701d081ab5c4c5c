"""Named windows, in a module that loads no drawing code."""

from __future__ import annotations

# Width and center in Hounsfield units.
PRESETS: dict[str, tuple[float, float]] = {
    "ct-lung": (1500.0, -500.0),
    "ct-bone": (2000.0, 300.0),
    "ct-brain": (80.0, 40.0),
    "ct-abdomen": (350.0, 50.0),
    "ct-liver": (150.0, 30.0),
    "ct-mediastinum": (350.0, 50.0),
    "ct-soft-tissue": (400.0, 50.0),
}
