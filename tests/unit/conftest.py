"""What tests of one part each share."""

from hypothesis import settings

# No test depends on how busy the machine is.
settings.register_profile("untimed", deadline=None)
settings.load_profile("untimed")
