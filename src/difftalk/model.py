"""The model folder: what `Talker` and `prepare` run, as named callables.

A folder holds ONNX graphs, `geometry.safetensors`, `mesh_topology.json` and `model_index.json`, which names each
graph's file, precision and hash and the model's settings. Some graphs have a second form, made of integers. A graph is
compiled when it is first used, in the form that runs fastest here unless a precision is told. Knows nothing of how the
graphs are trained or what their outputs mean.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any, Final

from difftalk.engine import PRECISIONS
from difftalk.errors import InputError, ModelError
from difftalk.graphs import NEEDED
from difftalk.settings import Settings
from difftalk.stages import timed

if TYPE_CHECKING:
    from difftalk.engine import Graph, Precision
    from difftalk.face.finder import FaceFinder
    from difftalk.face.mouth import Geometry

FORMAT: Final = 3
INDEX: Final = "model_index.json"
OTHERS: Final = ("geometry.safetensors", "mesh_topology.json", "speech_projection.safetensors")  # besides the graphs
SHIPPED: Final = Path(__file__).parent / "weights"
AUTO: Final = "auto"  # precision: whatever is fastest
NAMED: Final = {"difftalk": SHIPPED}  # the models that have a name


@dataclass(frozen=True)
class GraphEntry:
    """One graph of the folder. weights: file that holds them, where they are too many for the graph's own.

    precision: the least that it may be computed in. int8: file of its form in integers, where it has one.
    """

    file: str
    precision: Precision
    sha256: str  # of the graph's file, its weights' and its integers'
    weights: str = ""
    int8: str = ""

    @property
    def files(self) -> list[str]:
        return [name for name in (self.file, self.weights, self.int8) if name]

    def forms(self, told: str) -> dict[Precision, str]:
        """Files by precision, of which the fastest is to be taken; one, where a precision is told or it has no int8."""
        if told == "f32":
            return {"f32": self.file}
        if not self.int8 or told == "bf16":
            return {self.precision: self.file}
        if told == "int8":
            return {"int8": self.int8}
        return {"int8": self.int8, self.precision: self.file, "f32": self.file}


@dataclass(frozen=True)
class Model:
    """A loaded model folder. Threads may share it."""

    folder: Path
    graphs: dict[str, GraphEntry]
    settings: Settings
    engine: str = "openvino"
    threads: int = 0
    written: Settings | None = None  # what the folder says, where other settings are used
    precision: str = AUTO
    _loaded: dict[str, Graph] = field(default_factory=dict, repr=False, compare=False)
    _chosen: dict[str, Precision] = field(default_factory=dict, repr=False, compare=False)
    _loading: Lock = field(default_factory=Lock, repr=False, compare=False)

    @classmethod
    def load(
        cls,
        name_or_folder: Path | str | None = None,
        *,
        engine: str = "openvino",
        threads: int = 0,
        precision: str = AUTO,
    ) -> Model:
        """The named model, that in a folder, or the shipped one. threads: 0: the engine chooses. Raises ModelError.

        precision: auto, which measures once on every machine what is fastest for each graph; int8, bf16 or f32, for
        those graphs that may run in it. Raises InputError.
        """
        if precision not in (AUTO, *PRECISIONS):
            raise InputError(f"`precision` was {precision}; allowed are {AUTO}, {', '.join(PRECISIONS)}")
        path = _folder_of(name_or_folder)
        index = path / INDEX
        if not index.is_file():
            raise ModelError(f"{path} holds no {INDEX}; give a folder written by difftalk export or save_pretrained")
        try:
            content: dict[str, Any] = json.loads(index.read_text())
            if content["format"] != FORMAT:
                raise ModelError(
                    f"{index} has format {content['format']}, this version reads {FORMAT}; export the model again"
                )
            graphs = {name: GraphEntry(**entry) for name, entry in content["graphs"].items()}
            settings = Settings.of(content["settings"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ModelError(f"{index} cannot be read ({error}); export the model again") from None
        for name in (name for entry in graphs.values() for name in entry.files):
            if not (path / name).is_file():
                raise ModelError(f"{path} lacks {name}; export or copy the whole folder again")
        return cls(path, graphs, settings, engine, threads, settings, precision)

    def changed(self, settings: Sequence[str]) -> Model:
        """The same folder with other settings: see `Settings.changed`. Raises InputError."""
        return replace(self, settings=self.settings.changed(settings)) if settings else self

    @property
    def differing(self) -> dict[str, Any]:
        """Settings that are not what the folder says, by dotted name."""
        return {} if self.written is None else self.settings.differing(self.written)

    def graph(self, name: str) -> Graph:
        """The named graph, compiled at first use."""
        with self._loading:
            if name not in self._loaded:
                self._loaded[name] = self._compiled(name)
            return self._loaded[name]

    def _compiled(self, name: str) -> Graph:
        if name not in self.graphs:
            raise ModelError(f"{self.folder} has no graph {name!r}; it has {', '.join(sorted(self.graphs))}")
        from difftalk.engine.fastest import fastest

        entry = self.graphs[name]
        forms = {precision: self.folder / file for precision, file in entry.forms(self.precision).items()}
        chosen, graph = fastest(forms, mark=entry.sha256, threads=self.threads, engine=self.engine)
        if entry.int8:
            self._chosen[name] = chosen
        return timed(f"net {name}")(graph)

    @property
    def chosen(self) -> dict[str, Precision]:
        """What the graphs in use that have a form in integers are computed in."""
        return dict(sorted(self._chosen.items()))

    @cached_property
    def geometry(self) -> Geometry:
        from difftalk.face.mouth import Geometry

        return Geometry.load(self.folder, self.settings)

    @cached_property
    def face_finder(self) -> FaceFinder:
        from difftalk.face.finder import Detector, FaceFinder

        detector = Detector(self.graph("face_detector"), self.settings)
        mesh, blendshapes = self.graph("face_mesh"), self.graph("face_blendshapes")
        return FaceFinder(detector=detector, mesh=mesh, blendshapes=blendshapes, settings=self.settings)

    @cached_property
    def hash(self) -> str:
        """12 hex digits that change with any file of the folder and with any setting."""
        return self.hash_of(self.graphs, asdict(self.settings))

    def hash_of(self, graphs: Iterable[str], settings: Iterable[str]) -> str:
        """12 hex digits that change with these graphs and settings, and with the folder's other files."""
        parts = {name: self.graphs[name].sha256 for name in graphs if name in self.graphs}
        others = {name: file_hash(self.folder / name) for name in OTHERS if (self.folder / name).is_file()}
        values = {name: value for name, value in asdict(self.settings).items() if name in set(settings)}
        text = json.dumps([parts, others, values], sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    def save(self, folder: Path | str) -> None:
        """Copies the folder's files to another folder, which must be empty or new."""
        target = Path(folder)
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ModelError(f"{target} is not an empty folder; give a new one")
        target.mkdir(parents=True, exist_ok=True)
        graphs = [name for entry in self.graphs.values() for name in entry.files]
        for name in [*graphs, *(name for name in OTHERS if (self.folder / name).is_file())]:
            shutil.copyfile(self.folder / name, target / name)
        write_index(target, self.graphs, self.settings)


def _folder_of(name_or_folder: Path | str | None) -> Path:
    """A folder that has a model's name is given with its parent, as ./difftalk."""
    if name_or_folder is None:
        return SHIPPED
    path = NAMED.get(str(name_or_folder), Path(name_or_folder))
    if not path.is_dir():
        raise ModelError(
            f"{name_or_folder} is neither a model's folder nor a model's name; the names are {', '.join(NAMED)}"
        )
    return path


def entry_of(path: Path, precision: Precision) -> GraphEntry:
    """The index entry of a graph file NAME.onnx; NAME.onnx.data are its weights, NAME.int8.onnx it in integers."""
    others = (path.with_name(f"{path.name}.data"), int8_path(path))
    weights, int8 = (other.name if other.is_file() else "" for other in others)
    parts = [path, *(other for other in others if other.is_file())]
    return GraphEntry(path.name, precision, file_hash(*parts), weights, int8)


def int8_path(path: Path) -> Path:
    """Where the form in integers of a graph file lies."""
    return path.with_name(f"{path.stem}.int8.onnx")


def file_hash(*paths: Path) -> str:
    """SHA-256 of the files' bytes, one after the other."""
    digest = hashlib.sha256()
    for path in paths:
        with path.open("rb") as file:
            while block := file.read(1 << 24):
                digest.update(block)
    return digest.hexdigest()


def write_index(folder: Path, graphs: dict[str, GraphEntry], settings: Settings) -> None:
    """Writes model_index.json; the other half of `Model.load`."""
    content = {
        "format": FORMAT,
        "graphs": {name: asdict(entry) for name, entry in sorted(graphs.items())},
        "settings": asdict(settings),
    }
    (folder / INDEX).write_text(json.dumps(content, indent=1) + "\n")


def check_renderer(model: Model) -> None:
    """Raises ModelError unless the folder has the graphs that its renderer and motion need."""
    needed = NEEDED[model.settings.renderer]
    missing = [name for name in [*needed, model.settings.motion, "speech_encoder"] if name not in model.graphs]
    if missing:
        raise ModelError(f"{model.folder} lacks {', '.join(missing)}; export the model again")
