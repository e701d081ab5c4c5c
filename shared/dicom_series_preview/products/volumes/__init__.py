"""Volumes: series as arrays whose every voxel lies where the headers say, or the reason why there is none."""
