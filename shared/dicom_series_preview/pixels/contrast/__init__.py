"""Contrast: a grey frame's stored values come in; display values, 0..255, go out (PS3.3 C.11).

The steps, for the slices of one picture::

    spec = parse_contrast("ct-lung")                      # or "1500/-500", "auto", "embedded", ... or DEFAULT
    pooled = AutoWindow()
    if any(needs_statistics(spec, contrast) for contrast in contrasts):
        for decoded, contrast in slices:
            pooled.add(decoded.samples, contrast)
    for decoded, pixels, contrast in slices:
        applied = resolve(spec, contrast, pooled)
        grey = render(decoded, pixels, contrast, applied)
        mask = padding_mask(decoded.samples, contrast)
"""
