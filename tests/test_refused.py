"""What a talker refuses: it says so before it works, and leaves nothing behind."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from difftalk.arrays import Image
from difftalk.errors import FaceError, InputError, MediaError, ModelError, OutputError
from difftalk.media import video
from difftalk.model import Model
from difftalk.talk.talker import Talker
from drawn import draw_clip, packets, without_face


def test_options_out_of_range(painter_model: Model, talker: Talker, still: Path, clip: Path, voice: Path) -> None:
    for options in ({"steps": 0}, {"steps": 1001}, {"articulation": -0.1}, {"articulation": np.nan}, {"seed": -1}):
        with pytest.raises(InputError, match=f"`{next(iter(options))}` was .*allowed are"):
            Talker(painter_model, **options)
    for size, head_motion in ((63, 1.0), (9000, 1.0), (512, -1.0), (512, float("nan"))):
        with pytest.raises(InputError, match="allowed are"):
            talker.animate(still, voice, "out.mp4", size=size, head_motion=head_motion)
    with pytest.raises(InputError, match=r"`blinks` was 3.*allowed are 0"):
        talker.animate(still, voice, "out.mp4", blinks=3)
    with pytest.raises(InputError, match="'stretch'; allowed are bounce, loop, hold"):
        talker.dub(clip, voice, "out.mp4", fit="stretch")  # type: ignore[arg-type]


def test_the_other_command_is_named(talker: Talker, still: Path, clip: Path, voice: Path) -> None:
    with pytest.raises(InputError, match="use dub"):
        talker.animate(clip, voice, "out.mp4")
    with pytest.raises(InputError, match="use animate"):
        talker.dub(still, voice, "out.mp4")


def test_model_without_a_renderer(model: Model, painter_model: Model) -> None:
    fewer = {name: entry for name, entry in painter_model.graphs.items() if name not in ("painter", "linear")}
    with pytest.raises(ModelError, match="lacks painter, linear"):
        Talker(dataclasses.replace(painter_model, graphs=fewer))


def test_nothing_is_left_behind(talker: Talker, still: Path, portrait: Image, voice: Path, tmp_path: Path) -> None:
    """Neither a file nor a part of one: no face, an error in the middle, a listener that stops it."""
    out, empty = tmp_path / "out.mp4", draw_clip(tmp_path / "empty.mp4", [without_face(portrait)] * 3)
    with pytest.raises(FaceError):
        talker.dub(empty, voice, out)
    with pytest.raises(MediaError):
        talker.animate(still, tmp_path / "nothing.wav", out)

    def stop(what: str, done: int, total: int) -> None:
        if what == "speaking" and done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        talker.animate(still, voice, out, progress=stop)
    assert [path.name for path in tmp_path.iterdir()] == ["empty.mp4"]


def test_existing_output(talker: Talker, still: Path, clip: Path, voice: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.mp4"
    out.write_bytes(b"mine")
    for work, source in ((talker.animate, still), (talker.dub, clip)):
        with pytest.raises(OutputError, match="exists already"):
            work(source, voice, out)
    assert out.read_bytes() == b"mine"
    talker.animate(still, voice, out, overwrite=True)
    assert video.probe(out).frame_count == 25
    assert [path.name for path in tmp_path.iterdir()] == ["out.mp4"]


def test_output_over_its_own_source(talker: Talker, clip: Path, voice: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.mp4"
    own.write_bytes(clip.read_bytes())
    assert talker.dub(own, own, own, overwrite=True).frames == pytest.approx(25, abs=3)
    assert packets(own) == packets(clip)
