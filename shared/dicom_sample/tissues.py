"""The sample's tissue values in Hounsfield units, after contrast in the portal venous phase."""

from __future__ import annotations

AIR_HU = -1000.0
GAS_HU = -960.0
FAT_HU = -102.0
WATER_HU = 9.0
MUSCLE_HU = 58.0
LIVER_HU = 112.0
BLOOD_HU = 165.0
CORTEX_HU = 780.0  # of bones
MARROW_HU = 210.0
