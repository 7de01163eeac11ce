"""What the tests share: the demo's portrait and voice, clips drawn from them, a model folder with tiny graphs."""

from __future__ import annotations

import dataclasses
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image as Pillow

from difftalk.arrays import Image
from difftalk.data.manifest import Entry as ToPrepare
from difftalk.data.prepare import prepare_clip
from difftalk.data.sample import Sample
from difftalk.doors import cli
from difftalk.face.finder import Face
from difftalk.face.space import Alignment, align
from difftalk.media import audio, picture
from difftalk.model import SHIPPED, Model, entry_of, write_index
from difftalk.settings import Settings
from difftalk.talk import cache
from difftalk.talk.footage import Footage
from difftalk.talk.portrait import Portrait, of_still
from difftalk.talk.talker import Talker
from difftalk.talk.watching import of_video
from drawn import DEMO, draw_clip, moving, write_wav
from tiny_graphs import (
    composite_path_graph,
    decoder_graph,
    denoiser_graph,
    encoder_graph,
    folds_graph,
    identity_graph,
    motion_graph,
    painter_graph,
    speech_graph,
)

Run = Callable[..., tuple[int, str, str]]
SIDE = 256  # px of a drawn clip; the demo portrait's eyes are 42 px apart
CORNER = (98, 10)  # x, y of the drawn clip in the demo portrait


@pytest.fixture(scope="session")
def portrait() -> Image:
    """(256, 256, 3): the demo portrait's head, eyes 42 px apart."""
    x, y = CORNER
    return np.ascontiguousarray(picture.read(DEMO / "portrait.jpg")[y : y + SIDE, x : x + SIDE])


@pytest.fixture(scope="session")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for what is drawn once."""
    return tmp_path_factory.mktemp("media")


@pytest.fixture(scope="session")
def waveform() -> NDArray[np.float32]:
    """(16000,): one second of the demo voice."""
    return audio.read(DEMO / "voice.wav")[8000:24000]


@pytest.fixture(scope="session", autouse=True)
def _cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What is found in videos is kept for these tests alone."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cache, "folder", lambda: tmp_path_factory.getbasetemp() / "videos")
        yield


@pytest.fixture(scope="session")
def voice(media: Path, waveform: NDArray[np.float32]) -> Path:
    """The second of voice as a file, 16 kHz mono."""
    return write_wav(media / "voice.wav", waveform)


@pytest.fixture(scope="session")
def still(media: Path, portrait: Image) -> Path:
    """The portrait as a file without loss."""
    Pillow.fromarray(portrait).save(media / "portrait.png")
    return media / "portrait.png"


@pytest.fixture(scope="session")
def clip(media: Path, voice: Path, portrait: Image) -> Path:
    """28 frames at 25/s with sound: the portrait moves right by a pixel a frame."""
    return draw_clip(media / "clip.mp4", moving(portrait, 28), sound=voice)


# --- the shipped face nets, and what they see in the portrait ---------------------------------------------------------


@pytest.fixture(scope="session")
def model() -> Model:
    """The shipped model folder."""
    return Model.load()


@pytest.fixture(scope="session")
def face(model: Model, portrait: Image) -> Face:
    return model.face_finder.find(portrait)[0].face


@pytest.fixture(scope="session")
def alignment(model: Model, face: Face) -> Alignment:
    return align(model.geometry.pose(face.points))


@pytest.fixture
def run(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """`difftalk ARGUMENTS` -> exit code, standard output, standard error; native libraries' lines included."""

    def call(*arguments: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["difftalk", *map(str, arguments)])
        capfd.readouterr()
        with pytest.raises(SystemExit) as left:
            cli.main()
        out, err = capfd.readouterr()
        code = left.value.code
        return code if isinstance(code, int) else 0, out, err

    return call


# --- a model folder with tiny graphs ----------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The shipped folder with tiny graphs for all but where faces are; draws with the painter, moves with `linear`."""
    folder = tmp_path_factory.mktemp("model") / "tiny"
    shutil.copytree(SHIPPED, folder)
    entries = dict(Model.load(folder).graphs)
    for beside in (folder / "face_identity.onnx.data", *folder.glob("*.int8.onnx")):
        beside.unlink()
    paths = [
        identity_graph(folder / "face_identity.onnx"),
        speech_graph(folder / "speech_encoder.onnx"),
        folds_graph(folder / "folds.onnx"),
        painter_graph(folder / "painter.onnx"),
        motion_graph(folder / "linear.onnx", seed=1),
        motion_graph(folder / "motion.onnx", seed=2),
        encoder_graph(folder / "encoder.onnx"),
        composite_path_graph(folder / "composite_path.onnx"),
        denoiser_graph(folder / "denoiser.onnx"),
        decoder_graph(folder / "decoder.onnx"),
    ]
    entries |= {path.stem: entry_of(path, "f32") for path in paths}
    write_index(folder, entries, Settings(renderer="painter", motion="linear"))
    return folder


@pytest.fixture(scope="session")
def painter_model(model_folder: Path) -> Model:
    return Model.load(model_folder)


@pytest.fixture(scope="session")
def denoiser_model(painter_model: Model) -> Model:
    """The same folder with the other renderer and the other motion."""
    return dataclasses.replace(painter_model, settings=Settings(renderer="denoiser", motion="motion"))


@pytest.fixture(scope="session")
def talker(painter_model: Model) -> Talker:
    return Talker(painter_model)


@pytest.fixture(scope="session")
def still_identity(talker: Talker, still: Path) -> Portrait:
    return of_still(still, talker.model, size=None)


@pytest.fixture(scope="session")
def clip_identity(talker: Talker, clip: Path) -> Footage:
    return of_video(clip, talker.model)


@pytest.fixture(scope="session")
def sample(clip: Path, painter_model: Model, tmp_path_factory: pytest.TempPathFactory) -> Sample:
    """The moving clip, prepared."""
    out = tmp_path_factory.mktemp("prepared")
    record = prepare_clip(ToPrepare(clip, "moving", "someone", offset=0, offset_r=0.9), out, painter_model)
    assert record.kept, record.reason
    return Sample.load(out / "moving")
