"""Hashes of what difftalk makes, to be the same before and after a change that is to change nothing.

    python tools/hashes.py [VIDEO ...]    one line an output; without a VIDEO, of one that is made of the demo portrait

Frames as they are drawn, not as they are encoded: of a still that speaks, of each video dubbed, the files of its
prepared sample, and a graph exported from a net that has learnt for two steps. The same on one machine alone.
"""

from __future__ import annotations

import hashlib
import itertools
import sys
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from difftalk import Talker
from difftalk.data.manifest import Entry
from difftalk.data.prepare import prepare_clip
from difftalk.media import audio
from difftalk.model import SHIPPED
from difftalk.talk.identity import Identity
from difftalk.training.export import export_model
from difftalk.training.run import train_kind

DEMO = SHIPPED.parent / "demo"
FRAMES = 60


def digest(parts: Iterable[bytes]) -> str:
    whole = hashlib.sha256()
    for part in parts:
        whole.update(part)
    return whole.hexdigest()[:16]


def drawn(talker: Talker, identity: Identity) -> str:
    """Of the first frames with the demo's voice, and of what is said of the identity."""
    waveform = audio.read(DEMO / "voice.wav")
    frames = itertools.islice(talker.stream(identity, [waveform]), FRAMES)
    return digest(itertools.chain((frame.image.tobytes() for frame in frames), [repr(identity.notes).encode()]))


def files(folder: Path) -> str:
    return digest(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def outputs(videos: Sequence[Path], work: Path) -> Iterator[tuple[str, str]]:
    talker = Talker.from_pretrained()
    yield "animate", drawn(talker, talker.identity(DEMO / "portrait.jpg"))
    if not videos:
        videos = [work / "spoken.mp4"]
        talker.animate(DEMO / "portrait.jpg", DEMO / "voice.wav", videos[0], size=512)
    for number, video in enumerate(videos):
        yield f"dub {video.name}", drawn(talker, talker.identity(video))
        prepare_clip(Entry(video, "clip", "person"), work / str(number), talker.model)
        yield f"prepare {video.name}", files(work / str(number))
    train_kind("painter", None, work / "run", recipe="debug", steps=2)
    export_model(work / "model", {"painter": work / "run"})
    yield "export", digest([(work / "model" / "painter.onnx").read_bytes()])


def main(arguments: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory() as work:
        for name, found in outputs([Path(path) for path in arguments], Path(work)):
            print(found, name, flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
