"""Storages, and the headers of the DICOM objects in them: an address comes in, bytes and headers go out."""
