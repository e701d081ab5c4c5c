"""Storages and DICOM headers: an address comes in; bytes and parsed headers go out."""
