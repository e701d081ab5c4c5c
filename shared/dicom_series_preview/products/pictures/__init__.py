"""Pictures: a request for an image or mosaic comes in; the encoded picture and its report go out."""
