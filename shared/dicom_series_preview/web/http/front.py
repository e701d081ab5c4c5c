"""The front page, for people: what the server is and where to go on."""

from __future__ import annotations

from dicom_series_preview._version import __version__

_DOCUMENTATION = "https://github.com/dicom-series-preview/dicom-series-preview/tree/main/docs"
# Links are relative: the address can have its own path before them.
FRONT_PAGE = f"""<!doctype html>
<html lang="en">
<meta charset="utf-8">
<title>dicom-series-preview {__version__}</title>
<h1>dicom-series-preview {__version__}</h1>
<p>Shows what is inside a DICOM series without downloading it.</p>
<ul>
<li><a href="series"><code>GET /series</code></a>: which series there are;
<code>?modality=CT&amp;q=thorax</code> searches them</li>
<li><code>GET /series/{{series}}</code>: one of them, with its stacks and their geometry</li>
<li><code>GET /series/{{series}}/volumes</code>: which volumes it gives, and why it gives others not</li>
<li><code>GET /studies/{{study}}</code>: the series of a study</li>
<li><code>GET /series/{{series}}/mosaic</code>: a grid of its slices</li>
<li><code>GET /series/{{series}}/image?position=0.5</code>: one slice</li>
<li><code>GET /series/{{series}}/contrast-mosaic?contrast=lung&amp;contrast=bone</code>: slices under several
contrasts</li>
<li><code>GET /series/{{series}}/index</code>: what it holds; <code>?format=parquet</code> for more</li>
<li><a href="health"><code>GET /health</code></a>: version and roots</li>
<li><a href="openapi.json"><code>GET /openapi.json</code></a>: all of this for programs</li>
</ul>
<p>A slash in the name of a series is written <code>%2F</code>. More is in the
<a href="{_DOCUMENTATION}">documentation</a>.</p>
</html>
"""
