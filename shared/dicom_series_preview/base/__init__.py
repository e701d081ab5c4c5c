"""The values and rules that every other floor uses: errors, settings, geometry, descriptions of images."""
