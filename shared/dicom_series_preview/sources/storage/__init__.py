"""Storages: an address comes in; listings, byte ranges and whole objects go out. `open` opens one."""
