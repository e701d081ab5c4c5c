"""Storages: an address comes in; listings, ranges and whole objects go out. `open` opens one."""
