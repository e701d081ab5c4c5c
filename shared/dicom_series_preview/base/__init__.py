"""What every other floor stands on: errors, settings, geometry, descriptions of images. It reads no file."""
