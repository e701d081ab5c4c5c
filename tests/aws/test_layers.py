"""The built layers hold all that the product needs, and nothing that may not be there."""

import importlib.util
import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

PROJECT = Path(__file__).parents[2]
# What the Lambda runtime brings itself, and so the layers do not.
RUNTIME = ("boto3", "botocore", "s3transfer", "dateutil", "six.py", "jmespath")
# The command line and the local server stay at home.
LEFT_OUT = ("__main__", "doors.cli", "doors.server")

# The functions that write the catalogue's table.
TABLE_WRITERS = ("catalogue_fold", "catalogue_maintenance")
# The function that converts series into volumes.
CONVERTER = "batch_convert"
FUNCTIONS = sorted(path.parent.name for path in (PROJECT / "functions").glob("*/app.py"))
ENVIRONMENT = {
    "AWS_REGION": "eu-central-1",
    "AWS_DEFAULT_REGION": "eu-central-1",
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_LAMBDA_FUNCTION_NAME": "function",
    "LAMBDA_TASK_ROOT": "/var/task",
    "PREVIEW_ROOTS": '{"default": "s3://dicom-bucket"}',
    "PREVIEW_DATA": "s3://data-bucket",
    "PREVIEW_SERIES_DEPTH": "1",
    "PREVIEW_TRACING": "true",
    "PREVIEW_BATCH_STATE_MACHINE": "arn:aws:states:eu-central-1:123456789012:stateMachine:machine",
    "PREVIEW_UPDATES_QUEUE": "https://sqs.eu-central-1.amazonaws.com/123456789012/objects",
    "PREVIEW_CATALOGUE_QUEUE": "https://sqs.eu-central-1.amazonaws.com/123456789012/catalogue",
    "POWERTOOLS_SERVICE_NAME": "stack",
    "POWERTOOLS_METRICS_NAMESPACE": "DicomSeriesPreview",
    "POWERTOOLS_LOG_LEVEL": "INFO",
}

# Every codec family, from samples that are encoded here by other functions of the same libraries.
FRAMES = """
import io, json, zlib
import numpy as np
import imagecodecs, openjpeg.utils, rle.utils
from PIL import Image
from dicom_series_preview.pixels.codecs.registry import codecs
from dicom_series_preview.pixels.codecs.frame import decode_frame
from dicom_series_preview.pixels.codecs.colour import to_rgb
from dicom_series_preview.base.image import PixelDescription

ROOT = "1.2.840.10008.1.2"
ramp = (np.arange(64 * 48, dtype=np.uint16).reshape(64, 48) * 21) % 4096
raw, deflate = ramp.tobytes(), zlib.compressobj(wbits=-15)
layout = {"rows": 64, "columns": 48, "samples_per_pixel": 1, "bits_allocated": 16, "byteorder": "<"}
frames = {
    ".1": raw,
    ".2": ramp.astype(">u2").tobytes(),
    ".8.1": deflate.compress(raw) + deflate.flush(),
    ".5": rle.utils.encode_pixel_data(raw, **layout),
    ".4.70": imagecodecs.jpeg8_encode(ramp, lossless=True, bitspersample=12),
    ".4.80": imagecodecs.jpegls_encode(ramp),
    ".4.90": openjpeg.utils.encode_array(ramp, bits_stored=12),
}
right = {
    uid: bool(np.array_equal(decode_frame(data, PixelDescription(
        ROOT + uid, 64, 48, bits_stored=12, high_bit=11)).samples, ramp))
    for uid, data in frames.items()
}
colour = np.dstack([np.full((64, 48), value, np.uint8) for value in (200, 100, 50)])
buffer = io.BytesIO()
Image.fromarray(colour).save(buffer, "JPEG", quality=95)
pixels = PixelDescription(ROOT + ".4.50", 64, 48, 3, "YBR_FULL_422", 8, 8, 7)
shown = to_rgb(decode_frame(buffer.getvalue(), pixels), pixels)
right[".4.50"] = int(np.abs(shown.astype(int) - colour).max()) <= 2
print(json.dumps({"right": right, "families": sorted({codec.decoder for codec in codecs()})}))
"""

IMPORTS = """
import importlib, json, pkgutil, sys
import aws_lambda_powertools, defusedxml.ElementTree, imagecodecs, numpy.linalg, numpy.random
import obstore.store, obstore.auth.boto3, openjpeg, PIL.Image, PIL.ImageDraw, PIL._webp, pyarrow.compute
import pyarrow.parquet, pydicom, rle, urllib3, aws_xray_sdk.core
from aws_lambda_powertools import Logger, Metrics, Tracer
from aws_lambda_powertools.event_handler import APIGatewayHttpResolver
from aws_lambda_powertools.utilities.batch import BatchProcessor, EventType
import dicom_series_preview
found = []
for module in pkgutil.walk_packages(dicom_series_preview.__path__, "dicom_series_preview."):
    found.append(module.name)
    importlib.import_module(module.name)
print(json.dumps(found))
"""

FUNCTION = """
import importlib.util, sys
spec = importlib.util.spec_from_file_location("app", sys.argv[1])
app = importlib.util.module_from_spec(spec)
spec.loader.exec_module(app)
assert callable(app.handler)
"""

PARQUET = """
import pyarrow as pa, pyarrow.parquet as pq
import obstore
from obstore.store import MemoryStore

columns = {"Index": pa.array(range(1000), pa.uint32()), "Name": ["x"] * 1000, "P": [[0.5, 1.5]] * 1000}
table = pa.table(columns)
sink = pa.BufferOutputStream()
pq.write_table(table, sink, compression="zstd", store_schema=True, write_page_checksum=True)
store = MemoryStore()
obstore.put(store, "indices/a.parquet", sink.getvalue().to_pybytes())
data = bytes(obstore.get(store, "indices/a.parquet").bytes())
file = pq.ParquetFile(pa.BufferReader(data))
assert file.metadata.row_group(0).column(0).compression == "ZSTD"
assert pq.read_table(pa.BufferReader(data), page_checksum_verification=True).equals(table)
assert obstore.get_range(store, "indices/a.parquet", start=0, end=4) == b"PAR1"
print("ok")
"""

TABLE = """
import datetime as dt, json, sys
from pathlib import Path
from dicom_series_preview.archive.catalogue.rows import Place, problem_row
from dicom_series_preview.archive.catalogue.snapshot import SnapshotReader
from dicom_series_preview.archive.catalogue.table import CatalogueTable
from dicom_series_preview.sources.storage.local import LocalStorage

Path(sys.argv[1]).mkdir()
data = LocalStorage(Path(sys.argv[1]), 4)
now = dt.datetime.now(dt.UTC)
rows = [problem_row(Place("s3://b", name, "", "", "", None, now), "none", objects=0) for name in "ab"]
change = CatalogueTable(data).merge(rows, {("s3://b", name): now for name in "ab"})
read = SnapshotReader(data).read(["Series"])["Series"].to_pylist()
print(json.dumps({"added": change.added, "rows": sorted(read)}))
"""

VOLUMES = """
import json, sys
from pathlib import Path
import jinja2
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.base.settings import Limits, Settings
from dicom_series_preview.products.pictures.requests import IndexRequest
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.products.volumes.convert import Converter
from dicom_series_preview.products.volumes.formats.base import WriteOptions
from dicom_series_preview.products.volumes.formats.table import FORMATS
from dicom_series_preview.products.volumes.options import VolumeOptions
from dicom_series_preview.products.volumes.series import convert_series
from dicom_series_preview.sources.storage.open import open_storage

root, name, output = sys.argv[1:]
service = PreviewService(open_storage(root, Settings(Path(output)), {}), None, Limits())
made = {}
for one in FORMATS:
    for version in (2, 3) if one.name == "zarr" else (3,):
        converter = Converter(one, VolumeOptions(), WriteOptions(zarr_format=version), Limits())
        outcome = convert_series(
            lambda again: service.index(IndexRequest(SeriesName(name)), refresh=again),
            converter,
            lambda plan, volume: Path(output, f"{one.name}{version}{one.extensions[0]}"),
        )
        (volume,) = outcome.volumes
        made[f"{one.name} {version}"] = [volume.status, volume.receipt["volume"]["sha256"]]
print(json.dumps(made))
"""

SAMPLE = """
import sys
from pathlib import Path
from dicom_sample import write_sample
print(write_sample(Path(sys.argv[1]), slices=6))
"""

MOSAIC = """
import io, json, os, sys
from pathlib import Path
from PIL import Image
from dicom_series_preview.archive.local import open_cache
from dicom_series_preview.products.pictures.requests import MosaicRequest
from dicom_series_preview.archive.names import SeriesName
from dicom_series_preview.products.pictures.service import PreviewService
from dicom_series_preview.base.settings import Settings
from dicom_series_preview.sources.storage.open import open_storage

settings = Settings.from_environment(os.environ, Path(sys.argv[3]))
storage = open_storage(sys.argv[1], settings, os.environ)
service = PreviewService(storage, open_cache(settings, storage), settings.limits)
options = {"tile_width": ["3"], "tile_height": ["2"], "contrast": ["auto"]}
for output in ("m.webp", "m.jpg"):
    rendered = service.render(MosaicRequest.from_strings(sys.argv[2], output, options))
    image = Image.open(io.BytesIO(rendered.data))
    image.load()
    tiles = rendered.report.tiles
    print(json.dumps([image.format, image.size, len(tiles), [tile.error for tile in tiles]]))
"""

REAL = """
import json, sys
from pathlib import Path
from dicom_series_preview.doors.python.series import Series
from dicom_series_preview import PreviewError

failed = {}
for folder in sorted(path for path in Path(sys.argv[1]).iterdir() if path.is_dir()):
    try:
        report = Series(folder.name, root=sys.argv[1], cache=False).mosaic(tile_width=2, tile_height=2).report
    except PreviewError as error:
        failed[folder.name] = str(error)
    else:
        failed |= {f"{folder.name} {tile.row}": tile.error for tile in report.tiles if tile.error}
print(json.dumps(failed))
"""


@pytest.fixture(scope="session")
def runtime(python313: str, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with what the Lambda runtime has besides the layers."""
    modules = [name.removesuffix(".py") for name in RUNTIME]
    script = f"from importlib.util import find_spec as f; [print(f(name).origin) for name in {modules}]"
    found = subprocess.run([python313, "-c", script], capture_output=True, text=True, check=False)
    if found.returncode:
        pytest.skip("Python 3.13 has no boto3; make build-aws installs it")
    folder = tmp_path_factory.mktemp("runtime")
    for name, origin in zip(RUNTIME, found.stdout.splitlines(), strict=True):
        (folder / name).symlink_to(origin if name.endswith(".py") else Path(origin).parent)
    return folder


@pytest.fixture
def run(
    *,
    python313: str,
    layers: list[Path],
    catalogue_layer: Path,
    volumes_layer: Path,
    runtime: Path,
    tmp_path: Path,
) -> Callable[..., str]:
    """Run a script in an interpreter that has the layers, the runtime, and nothing else of this machine."""

    def run_script(
        script: str,
        *arguments: str,
        path: list[Path] | None = None,
        environment: dict[str, str] | None = None,
    ) -> str:
        # As in Lambda: layers before what the runtime brings.
        folders = path or [layer / "python" for layer in (*layers, catalogue_layer, volumes_layer)]
        result = subprocess.run(
            [python313, "-S", "-s", "-c", script, *arguments],
            cwd=tmp_path,
            env={
                "PYTHONPATH": os.pathsep.join(map(str, [*folders, runtime])),
                "HOME": str(tmp_path),
                "PYTHONDONTWRITEBYTECODE": "1",
                **(environment or {}),
            },
            capture_output=True,
            text=True,
            check=False,
        )
        assert result.returncode == 0, result.stderr
        return result.stdout

    return run_script


@pytest.fixture(scope="session")
def check() -> ModuleType:
    """layers/check.py."""
    return module("check")


@pytest.fixture(scope="session")
def trim() -> ModuleType:
    """layers/trim.py."""
    return module("trim")


def module(name: str) -> ModuleType:
    """A script of layers/, as a module."""
    spec = importlib.util.spec_from_file_location(name, PROJECT / "layers" / f"{name}.py")
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


@pytest.mark.aws
class TestBuiltLayers:
    """What `sam build` has made."""

    def test_everything_imports(self, run: Callable[..., str]) -> None:
        """The product's every module, and all that it and its handlers import, is there."""
        found = json.loads(run(IMPORTS))
        assert "dicom_series_preview.products.pictures.service" in found
        assert not [name for name in found if name.partition(".")[2].startswith(LEFT_OUT)]

    @pytest.mark.parametrize("function", FUNCTIONS)
    def test_every_function_starts(
        self,
        *,
        run: Callable[..., str],
        layers: list[Path],
        catalogue_layer: Path,
        volumes_layer: Path,
        function: str,
    ) -> None:
        """A function's module loads with its own layers and what the template tells it, tracing included."""
        own = [*layers, catalogue_layer] if function in TABLE_WRITERS else layers
        own = [*layers, volumes_layer] if function == CONVERTER else own
        app = str(PROJECT / "functions" / function / "app.py")
        run(FUNCTION, app, path=[layer / "python" for layer in own], environment=ENVIRONMENT)

    def test_the_packed_library_writes_a_table(self, run: Callable[..., str], tmp_path: Path) -> None:
        """What writes the catalogue is unpacked as it is loaded, and leaves no file of that behind."""
        unpacked = tmp_path / "unpacked"
        unpacked.mkdir()
        told = run(TABLE, str(tmp_path / "data"), environment={"TMPDIR": str(unpacked)})
        assert json.loads(told) == {"added": 2, "rows": ["a", "b"]}
        assert list(unpacked.iterdir()) == []

    def test_no_package_is_in_two_layers(
        self, layers: list[Path], catalogue_layer: Path, volumes_layer: Path
    ) -> None:
        """What the others' layers need of the dependencies layer is not there again."""
        first, *others = (
            {path.name for path in (layer / "python").iterdir()}
            for layer in (layers[0], catalogue_layer, volumes_layer)
        )
        for names in others:
            assert first & names <= {"THIRD_PARTY_NOTICES.txt", "__pycache__"}

    def test_the_sample_becomes_volumes(
        self, run: Callable[..., str], layers: list[Path], volumes_layer: Path, tmp_path: Path
    ) -> None:
        """A series becomes a volume in each format, proved by the format's reader; all have one digest."""
        whole = [layers[0] / "python", PROJECT / "shared"]
        series = Path(run(SAMPLE, str(tmp_path / "root"), path=whole).strip())
        own = [layer / "python" for layer in (*layers, volumes_layer)]
        made = json.loads(run(VOLUMES, str(series.parent), series.name, str(tmp_path / "v"), path=own))
        assert len(made) == 7
        assert {status for status, _ in made.values()} == {"made"}
        assert len({digest for _, digest in made.values()}) == 1

    def test_it_says_what_it_was_built_for(self, run: Callable[..., str]) -> None:
        """The layers name their processor, by which a function on another one tells what is wrong."""
        said = run("import dicom_series_preview_built_for as layers; print(layers.MACHINE)")
        assert said.strip() == os.uname().machine

    def test_every_codec_family_decodes(self, run: Callable[..., str]) -> None:
        """A frame of each family comes out as it went in, and no decoder that the product has is missing."""
        answer = json.loads(run(FRAMES))
        assert all(answer["right"].values()), answer["right"]
        assert answer["families"] == [
            "CharLS (imagecodecs)",
            "OpenJPEG (imagecodecs, pylibjpeg-openjpeg)",
            "dicom-series-preview",
            "libjpeg-turbo (imagecodecs)",
            "pylibjpeg-rle",
        ]

    def test_parquet_and_object_store(self, run: Callable[..., str]) -> None:
        """A Parquet file with zstd and page checksums goes through an object store and back."""
        assert run(PARQUET) == "ok\n"

    def test_a_mosaic_of_the_sample(
        self, run: Callable[..., str], layers: list[Path], tmp_path: Path
    ) -> None:
        """A series of files becomes an index and then a WebP and a JPEG, without a failed tile."""
        whole = [layers[0] / "python", PROJECT / "shared"]
        series = Path(run(SAMPLE, str(tmp_path / "root"), path=whole).strip())
        cache = str(tmp_path / "cache")
        lines = [
            json.loads(line) for line in run(MOSAIC, str(series.parent), series.name, cache).splitlines()
        ]
        assert lines == [[kind, [384, 256], 6, [None] * 6] for kind in ("WEBP", "JPEG")]
        assert list((tmp_path / "cache" / "indices").iterdir())

    @pytest.mark.real_data
    def test_mosaics_of_real_series(self, run: Callable[..., str], real_data: Path) -> None:
        """Every real series shows itself, whatever its transfer syntax."""
        assert json.loads(run(REAL, str(real_data / "series"))) == {}

    def test_all_is_compiled(self, layers: list[Path], catalogue_layer: Path, volumes_layer: Path) -> None:
        """Each module lies beside its .pyc, which is valid whatever time the file bears."""
        all_layers = (*layers, catalogue_layer, volumes_layer)
        sources = [path for layer in all_layers for path in layer.rglob("*.py")]
        assert len(sources) > 500
        for path in sources:
            compiled = path.parent / "__pycache__" / f"{path.stem}.cpython-313.pyc"
            # PEP 552: flags 1 are a hash that is not checked.
            assert compiled.read_bytes()[4:8] == b"\1\0\0\0", path

    def test_what_is_there_is_small_and_free(
        self, layers: list[Path], catalogue_layer: Path, volumes_layer: Path, check: ModuleType
    ) -> None:
        """Layers and the largest function stay below the limit, and no part is under a GPL."""
        assert check.sizes(layers, PROJECT / "functions") == []
        for more in (catalogue_layer, volumes_layer):
            assert check.sizes([*layers, more], PROJECT / "functions", 250 * 10**6) == []
        for layer in (layers[0], catalogue_layer, volumes_layer):
            assert check.licences(layer / "python") == []

    def test_notices_are_there(self, layers: list[Path], catalogue_layer: Path, volumes_layer: Path) -> None:
        """Each package that a layer brings stands in its notices with its licence's text."""
        texts = []
        for folder in (layer / "python" for layer in (layers[0], catalogue_layer, volumes_layer)):
            text = (folder / "THIRD_PARTY_NOTICES.txt").read_text(encoding="utf-8")
            for path in folder.glob("*.dist-info"):
                name, version = path.name.removesuffix(".dist-info").rsplit("-", 1)
                heading = rf"(?im)^{name.replace('_', '[-_.]')} {re.escape(version)}: "
                assert re.search(heading, text), name
            texts.append(text)
        assert "Development Seed" in texts[0]
        assert "datafusion" in texts[1]

    def test_the_runtimes_own_packages_are_not_there(self, layers: list[Path]) -> None:
        """Neither boto3 nor the command line's packages nor tests take room."""
        names = {path.name for path in (layers[0] / "python").iterdir()}
        assert not names & {"boto3", "botocore", "click", "rich", "libjpeg", "gdcm"}
        assert not list((layers[0] / "python").glob("*/tests"))


class TestChecks:
    """layers/check.py and layers/trim.py."""

    def test_too_large_is_refused_with_what_is_largest(self, check: ModuleType, tmp_path: Path) -> None:
        """Beyond the limit the answer names the largest packages."""
        for name, count in (
            ("layer/python/big/a.so", 3000),
            ("layer/python/small.py", 10),
            ("f/app/app.py", 5),
        ):
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_bytes(bytes(count))
        assert check.sizes([tmp_path / "layer"], tmp_path / "f", limit_bytes=3015) == []
        (reason,) = check.sizes([tmp_path / "layer"], tmp_path / "f", limit_bytes=3014)
        assert "the largest: big" in reason

    @pytest.mark.parametrize(
        ("header", "refused"),
        [
            ("License-Expression: MIT", False),
            ("License: BSD 3-Clause", False),
            ("License-Expression: GPL-3.0-or-later", True),
            ("License: LGPLv2+", True),
            ("Classifier: License :: OSI Approved :: GNU Affero General Public License v3", True),
            ("Summary: says nothing", True),
        ],
    )
    def test_gpl_is_refused(
        self,
        check: ModuleType,
        tmp_path: Path,
        header: str,
        refused: bool,  # noqa: FBT001
    ) -> None:
        """GPL, LGPL and AGPL are refused wherever they stand in the metadata, and silence too."""
        folder = tmp_path / "x-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: x\nVersion: 1\n{header}\n\nGPL\n")
        assert bool(check.licences(tmp_path)) is refused

    def test_unknown_libraries_are_refused(self, check: ModuleType, tmp_path: Path) -> None:
        """A shared library whose licence nobody has looked up fails the build; known ones pass."""
        for name in ("x.libs/libjpeg-1.so", "x.libs/libnew-1.so.2"):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).touch()
        (reason,) = check.licences(tmp_path)
        assert "libnew" in reason

    def test_libraries_go_with_the_last_that_needs_them(self, trim: ModuleType, tmp_path: Path) -> None:
        """A library stays when an extension module needs it, itself or through another library."""
        elf = b"\x7fELF"
        files = {
            "pkg/_a.so": elf + b"liba.so.1\0",
            "numpy.libs/liba.so.1": elf + b"libb.so\0",
            "numpy.libs/libb.so": elf,
            "numpy.libs/libb.so.1": elf,
            "numpy.libs/libc.so": elf + b"libc.so\0",
        }
        for name, content in files.items():
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_bytes(content)
        assert {path.name for path in trim.unlinked(tmp_path)} == {"libb.so.1", "libc.so"}
