"""Quality: one slice's modality values come in; the rules that it breaks go out, and a series' verdict."""
