"""The rules that keep the tree readable and the install small."""

from __future__ import annotations

import ast
import dataclasses
import hashlib
import inspect
import os
import re
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import get_args, get_type_hints

import pytest

import difftalk
from difftalk import errors
from drawn import DEMO

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "src" / "difftalk"
SOURCES = sorted(PACKAGE.rglob("*.py"))
WRITTEN = [*SOURCES, *sorted((ROOT / "tests").glob("*.py"))]
TORCH_SIDE = ("nets", "training", "evaluation")
LONGEST_FUNCTION = 80  # lines
LONGEST_FILE = 400
IMPORT_SECONDS = 0.5

BLOCK = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked", name=name)
sys.meta_path.insert(0, Blocker())
import importlib
for module in {modules!r}:
    importlib.import_module(module)
"""

# Begins every process below it: names connections, and files opened for writing, in the file that WATCHED names.
WATCH = """
import os, sys
log = os.open(os.environ["WATCHED"], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
def watch(event, arguments):
    if event in ("socket.connect", "socket.sendto", "socket.getaddrinfo", "socket.gethostbyname"):
        os.write(log, f"{event} {arguments[1:]}\\n".encode())
        raise OSError(f"{event} is forbidden")
    if event == "open" and (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR) or event == "os.mkdir":
        os.write(log, f"{event} {os.path.abspath(os.fsdecode(arguments[0]))}\\n".encode())
sys.addaudithook(watch)
"""


def relative(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def python(code: str) -> str:
    """What a fresh interpreter prints for `code`; a failure shows its traceback."""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def names(path: Path) -> str:
    return relative(path) if path.is_relative_to(PACKAGE) else path.name


def test_inference_imports_without_what_training_needs() -> None:
    modules = [module_name(path) for path in SOURCES if relative(path).split("/")[0] not in TORCH_SIDE]
    assert "difftalk.doors.cli" in modules
    assert "difftalk.talk.talker" in modules
    blocked = ["torch", "torchvision", "onnx", "onnxscript", "onnxruntime", "pyarrow", "matplotlib", "diffusers"]
    python(BLOCK.format(blocked=blocked, modules=modules))


def test_base_install_is_what_inference_needs() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    base = {re.split(r"[<>=!~ \[]", line)[0] for line in project["dependencies"]}
    assert base == {
        "av",
        "numpy",
        "opencv-python-headless",
        "openvino",
        "pillow",
        "pillow-heif",
        "rich",
        "safetensors",
        "soxr",
        "typer",
    }


def test_every_direct_dependency_has_an_exact_version() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [
        *project["dependencies"],
        *(line for extra in project["optional-dependencies"].values() for line in extra),
    ]
    pinned = set(re.findall(r"^([\w.-]+)==", (ROOT / "constraints.txt").read_text(), re.MULTILINE))
    normal = {re.sub(r"[-_.]+", "-", name).lower() for name in pinned}
    missing = {re.split(r"[<>=!~ \[]", line)[0] for line in wanted} - normal
    assert not missing


def test_importing_the_package_imports_nothing_heavy() -> None:
    heavy = {"numpy", "openvino", "cv2", "av", "PIL", "torch", "typer", "rich", "soxr", "safetensors"}
    loaded = python("import sys, difftalk; print(*sys.modules)").split()
    assert not heavy & set(loaded)


def test_nothing_leaves_the_machine(still: Path, voice: Path, model_folder: Path, tmp_path: Path) -> None:
    """No connection is tried; nothing is written but the output, temporary files and what lies in the cache folder."""
    home, out, log = tmp_path / "home", tmp_path / "out", tmp_path / "log"
    for folder in (home, out, tmp_path / "temporary"):
        folder.mkdir()
    (tmp_path / "sitecustomize.py").write_text(WATCH)
    hidden = ("XDG_", "CI", "GITHUB_", "ORT_")
    env = {name: value for name, value in os.environ.items() if not name.startswith(hidden)}
    env |= {"HOME": str(home), "TMPDIR": str(tmp_path / "temporary"), "WATCHED": str(log)}
    env["PYTHONPATH"] = os.pathsep.join([str(tmp_path), str(PACKAGE.parent)])
    given = (still, voice, "-o", out / "typed.mp4", "--model", model_folder)
    code = (
        "from difftalk import Talker\n"
        f"talker = Talker.from_pretrained({str(model_folder)!r}, engine='onnxruntime')\n"
        f"talker.animate({str(still)!r}, {str(voice)!r}, {str(out / 'called.mp4')!r})"
    )
    for command in (["-m", "difftalk", "animate", *map(str, given)], ["-c", code]):
        subprocess.run([sys.executable, "-B", *command], env=env, check=True)
    done = [line.split(" ", 1) for line in log.read_text().splitlines()]
    assert not [line for line in done if line[0].startswith("socket")]
    allowed = [out, home, tmp_path / "temporary", Path("/dev")]
    assert not [what for _, what in done if not any(Path(what).is_relative_to(folder) for folder in allowed)]
    assert {path.relative_to(home).parts[:2] for path in home.rglob("*")} <= {(".cache",), (".cache", "difftalk")}
    assert {path.name for path in out.iterdir()} == {"typed.mp4", "called.mp4"}


def test_import_is_quick() -> None:
    seconds = []
    for _ in range(3):  # the quickest of three: other work on the machine is not ours
        start = time.perf_counter()
        python("import difftalk")
        seconds.append(time.perf_counter() - start)
    assert min(seconds) < IMPORT_SECONDS


PUBLIC = {
    "Footage", "Fragments", "Graph", "Identity", "Live", "Manner", "Model", "Portrait", "Result", "Session", "Spoken",
    "Talker", "TalkingFrame",
}  # fmt: skip


def test_public_list() -> None:
    tree = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }
    assert set(difftalk.__all__) == tree | PUBLIC | {"__version__"}
    assert sorted(difftalk.__all__) == difftalk.__all__ == dir(difftalk)
    for name in difftalk.__all__:
        assert getattr(difftalk, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'speak'"):
        difftalk.speak  # noqa: B018


def ours(hint: object) -> set[str]:
    """The names of this package's types in a type hint."""
    if isinstance(hint, type) and hint.__module__.split(".")[0] == "difftalk":
        return {hint.__name__}
    parts = [each for part in get_args(hint) for each in (part if isinstance(part, list) else [part])]
    return set().union(*map(ours, parts))


@pytest.mark.parametrize("name", sorted(PUBLIC))
def test_types_in_public_signatures_are_public(name: str) -> None:
    """Of every public method but those that a session alone calls: the abstract ones of an identity."""
    one, known = getattr(difftalk, name), {other: getattr(difftalk, other) for other in PUBLIC}
    inner = difftalk.Identity.__abstractmethods__
    made = [] if dataclasses.is_dataclass(one) else ["__init__", "__call__"]
    methods = [
        method
        for method_name, method in inspect.getmembers(one, callable)
        if (not method_name.startswith("_") or method_name in made)
        and not (issubclass(one, difftalk.Identity) and method_name in inner)
        and inspect.unwrap(method).__module__.startswith("difftalk")
    ]
    for method in methods:
        for hint in get_type_hints(method, localns=known).values():
            assert ours(hint) <= set(difftalk.__all__), method


def test_error_tree_in_the_docstring_is_the_tree() -> None:
    drawn = re.findall(r"\b(\w+Error)\b", errors.__doc__ or "")
    defined = [
        node.name for node in ast.parse(Path(errors.__file__).read_text()).body if isinstance(node, ast.ClassDef)
    ]
    assert sorted(drawn) == sorted(defined)


def test_readme_lists_every_file() -> None:
    """One line a file, its path from src/difftalk first: `engine/openvino.py  the default engine ...`."""
    listed = re.findall(r"^[\s|*`-]*((?:\w+/)*\w+\.py)\b", (ROOT / "README.md").read_text(), re.MULTILINE)
    assert len(listed) == len(set(listed))
    tree = {relative(path) for path in SOURCES if path.name not in ("__init__.py", "__main__.py")}
    assert {path for path in listed if not path.endswith(("__init__.py", "__main__.py"))} == tree


@pytest.mark.parametrize("path", WRITTEN, ids=names)
def test_lengths(path: Path) -> None:
    text = path.read_text()
    assert len(text.splitlines()) <= LONGEST_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            assert lines <= LONGEST_FUNCTION, f"{node.name} has {lines} lines"


@pytest.mark.parametrize("path", SOURCES, ids=names)
def test_module_says_what_it_does(path: Path) -> None:
    assert ast.get_docstring(ast.parse(path.read_text()))
    assert path.stem not in ("utils", "util", "common", "helpers", "misc")


@pytest.mark.parametrize("path", WRITTEN, ids=names)
def test_nothing_unfinished(path: Path) -> None:
    markers = "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK", "NotImplemented" + "Error"))
    assert not re.search(rf"\b({markers})\b", path.read_text())


# Numbers of a frame that are no settings: sizes, rates and points that the nets and the mesh were made for.
FIXED = {
    "face/boxes.py": set[str](),
    "face/finder.py": {"_DETECTOR_SIDE", "_MESH_SIDE"},  # px, of the graphs' pictures
    "face/mouth.py": {"COMPONENTS"},
    "face/recognition.py": {"CHIP", "CHIP_PADDING"},  # of the identity net's picture
    "face/space.py": {
        "ALIGNED_SIZE", "EYE_DISTANCE", "EYE_LINE", "REGION_X", "REGION_Y", "REGION_SIZE", "REGION", "FEATHER",
        "CLOSE", "CLOSE_SIZE", "PATCH_SIZE", "PATCH_DROP", "ALIGNED_SPACE",
    },
    "speech/features.py": {
        "FEATURE_RATE", "LAYER_SIZE", "FEATURE_LAYERS", "FEATURE_SIZE", "WINDOW_SECONDS", "HOP_SECONDS",
        "SETTLE_SECONDS", "SAMPLES_A_FEATURE", "BLOCK", "_WINDOW", "_HOP", "_SETTLE", "LEVEL_SAMPLES", "_EMPTY", "_FFT",
        "_MEL_HOP", "_MELS",
    },
    "speech/head_motion.py": {
        "KNOT_SIZE", "VOICE_FRAMES", "PAST_KNOTS", "VOICE_SIZE", "KEPT_SECONDS", "_NOISE",
    },
    "speech/listener.py": {"TAIL_FEATURES", "KEPT_SECONDS"},  # what is remembered: more changes nothing
    "speech/loudness.py": {"KEPT_LEVELS_SECONDS"},
    "speech/motion.py": {"SOUNDS", "MOTION_RATE", "PAST_FEATURES", "FUTURE_FEATURES", "LOOK_AHEAD_SECONDS"},
    "speech/voice_detector.py": {"STEP_SAMPLES", "_BEFORE", "_STATE"},
    "render/cover.py": {"SEEN_X", "SEEN_Y", "SIDE", "CELL", "WITHIN"},  # of the net's picture
    "render/head_field.py": {"STAYS"},  # to which OpenCV rounds places
    "render/lids.py": {"EYE_WIDTH", "ROWS"},  # of the mesh; of what is looked at
    "render/paste.py": {"DARK"},  # levels: no division by darkness
    "render/renderer.py": {"LEAST_SHARP"},  # of what the nets are told, as in training
    "render/published.py": {"NOSE", "CHARACTERS", "EMPTY", "SEEN"},
    "render/sampler.py": {"TIME_STEPS", "BETA"},  # of the noise that the published nets were trained with
    "render/surroundings.py": {"GRID", "_BAND", "_LOW", "_SIDE"},  # where the rim lies, as in training
    "render/warp.py": {"_SUBPIXEL_BITS"},
    "talk/cache.py": {"MOST_BYTES"},  # disk
    "talk/footage.py": {"BACKWARD_BYTES"},  # memory
    "talk/identity.py": {"STILL_RATE"},
    "talk/keeping.py": {"BLOCK", "FORMAT", "PNG_LEVEL"},  # of a file that loses nothing
    "talk/knowledge.py": {"SETTLED_AT_ONCE"},  # time
    "talk/live.py": {"TURN", "FADE"},  # time; sound
    "talk/session.py": {"AT_ONCE", "AHEAD_SECONDS"},  # how many frames are under way changes none
    "talk/talker.py": {"PIECE_SAMPLES"},  # a stream's pieces change no frame
}  # fmt: skip


def numbers_of(path: Path) -> set[str]:
    """Names at module level whose values are made of numbers; indices of the mesh's points are none."""
    found = set[str]()
    for node in ast.parse(path.read_text()).body:
        if not isinstance(node, ast.AnnAssign | ast.Assign) or node.value is None:
            continue
        parts = [*ast.walk(node.value)]
        called = {ast.unparse(one.func) for one in parts if isinstance(one, ast.Call)}
        number = any(isinstance(one, ast.Constant) and type(one.value) in (int, float) for one in parts)
        if number and not called & {"np.array", "re.compile"}:
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            found |= {one.id for one in ast.walk(target) if isinstance(one, ast.Name)}
    return found


@pytest.mark.parametrize("room", ["face", "speech", "render", "talk"])
def test_numbers_that_change_a_frame_are_settings(room: str) -> None:
    for path in sorted((PACKAGE / room).glob("*.py")):
        if path.name != "landmarks.py":
            assert numbers_of(path) <= FIXED.get(relative(path), set()), relative(path)


def test_notice_names_what_is_redistributed() -> None:
    notice = (ROOT / "NOTICE").read_text()
    entries = dict(
        re.findall(r"^\s+((?:src/difftalk|tests|weights)/\S+)\n\s+sha256 ([0-9a-f]{64})$", notice, re.MULTILINE)
    )
    assert {
        path.relative_to(ROOT).as_posix() for path in [*(PACKAGE / "demo").iterdir(), *DEMO.iterdir()]
    } <= entries.keys()
    for path, digest in entries.items():
        assert hashlib.sha256((ROOT / path).read_bytes()).hexdigest() == digest, f"{path} is not the file NOTICE names"
