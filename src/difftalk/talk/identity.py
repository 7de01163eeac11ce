"""Who speaks: what is found once of a portrait or a video, before any audio, and the frames that they are drawn on.

A portrait and footage are identities with the same methods. Knows nothing of how either is read.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Literal

from difftalk.arrays import Array, Image
from difftalk.errors import FaceError, InputError
from difftalk.face.head import HeadPose
from difftalk.face.mouth import Geometry, target_mesh
from difftalk.face.pose import Pose
from difftalk.face.space import Alignment
from difftalk.ranges import MAX_RATE, MAX_STEPS
from difftalk.render.cover import Cover, Lookout
from difftalk.render.drawing import Choice
from difftalk.render.head_field import Moved
from difftalk.render.references import Person, Reference, Scene
from difftalk.settings import Settings
from difftalk.stages import timed
from difftalk.talk import keeping
from difftalk.talk.keeping import Kept

if TYPE_CHECKING:
    from difftalk.model import Model
    from difftalk.speech.head_motion import HeadMotion
    from difftalk.speech.own_way import OwnWay

Fit = Literal["bounce", "loop", "hold"]

FITS: Final = ("bounce", "loop", "hold")
STILL_RATE: Final = Fraction(25)
KINDS: Final = {"portrait": "Portrait", "footage": "Footage"}  # module here and class, by what a kept one says it is


@dataclass(frozen=True)
class Manner:
    """How a session speaks.

    head_motion, blinks: 0 (off) to 2, of stills: how far the head moves, how often the eyes close. heads: of a film,
    one a frame, as which a still's head moves; none: its own way. frame_rate: of stills. fit: what a video shorter than
    the audio does. own_way: in [0, 1], how far the mouth moves as it did in the video. articulation: gain of the
    mouth's movement, 0 to 3. steps: of denoising; 0: the model's. seed: fixes noise, head motion and blinks.
    """

    head_motion: float = 1.0
    frame_rate: Fraction = STILL_RATE
    fit: Fit = "bounce"
    own_way: float = 1.0
    articulation: float = 1.0
    steps: int = 0
    seed: int = 0
    blinks: float = 1.0
    heads: tuple[HeadPose, ...] = ()

    def __post_init__(self) -> None:
        for name in ("head_motion", "blinks"):
            if not 0 <= getattr(self, name) <= 2:
                raise InputError(f"`{name}` was {getattr(self, name)}; allowed are 0 (off) to 2, 1 is natural")
        if not 0 < self.frame_rate <= MAX_RATE:
            raise InputError(f"`frame_rate` was {self.frame_rate}; allowed are rates over 0, up to {MAX_RATE} frames/s")
        if self.fit not in FITS:
            raise InputError(f"`fit` was {self.fit!r}; allowed are {', '.join(FITS)}")
        if not 0 <= self.own_way <= 1:
            raise InputError(f"`own_way` was {self.own_way}; allowed are 0 to 1")
        if not 0 <= self.articulation <= 3:
            raise InputError(f"`articulation` was {self.articulation}; allowed are 0 to 3, 1 is natural")
        if not 0 <= self.steps <= MAX_STEPS:
            raise InputError(f"`steps` was {self.steps}; allowed are 1 to {MAX_STEPS}")
        if self.seed < 0:
            raise InputError(f"`seed` was {self.seed}; allowed are 0 and above")


@dataclass(frozen=True)
class Sitter:
    """The face that a frame shows.

    pose, upper: source pixels. upper: (478, 3), only UPPER is set. alignment: of the reference's space. who: as far as
    they are known; person: their number. cover: what lies before the face.
    """

    pose: Pose
    alignment: Alignment
    upper: Array
    who: Person
    person: int = 0
    cover: Cover | None = None


@dataclass(frozen=True)
class Shot:
    """A frame to draw on.

    sitter: None where it is passed through. cut: it does not follow the one before. mouth_hidden: it is passed through
    because something covers the mouth. own_way: how a video's speaker moves the mouth, as far as it is known. moved: of
    a still whose head moves, how it does; to be asked for once the frame has been heard, and then, in any thread, for
    the work itself.
    """

    image: Image
    seconds: float
    sitter: Sitter | None
    cut: bool = False
    mouth_hidden: bool = False
    own_way: OwnWay | None = None
    moved: Callable[[], Callable[[], Moved | None]] | None = None


@dataclass(frozen=True)
class Sitting:
    """A shot as `drawing` sees it. scenery: whether it has surroundings of its own (a video's)."""

    image: Image
    sitter: Sitter
    geometry: Geometry
    scenery: bool

    @property
    def person(self) -> int:
        return self.sitter.person

    @property
    def who(self) -> Person:
        return self.sitter.who

    def choose(self, shape: Array, before: Choice | None) -> Choice:
        turn = self.sitter.pose.turn
        reference = self.who.reference_for(turn, 0 if before is None else before.reference, self.geometry.settings)
        return Choice(
            reference, self.who.mouth_for(shape, turn, None if before is None else before.mouth, self.geometry.settings)
        )

    def references(self, choice: Choice) -> tuple[Reference, Reference]:
        return self.who.references[choice.reference], self.who.mouths[choice.mouth]

    @timed("mesh")
    def mesh(self, shape: Array) -> Array:
        sitter = self.sitter
        mesh = target_mesh(self.geometry, pose=sitter.pose, neutral=self.who.neutral, shape=shape, upper=sitter.upper)
        return sitter.alignment.points(mesh)

    @timed("scene")
    def scene(self, choice: Choice) -> Scene | None:
        return Scene.of(self.image, self.sitter.alignment) if self.scenery else None


@dataclass(frozen=True)
class Identity(ABC):
    """A portrait or footage. model: hash of the model that found it."""

    still: ClassVar[bool] = False  # one picture, which lives

    path: Path
    notes: list[str] = field(default_factory=list, kw_only=True)
    model: str = field(default="", kw_only=True)

    @property
    @abstractmethod
    def mark(self) -> str:
        """12 hex digits that tell identities apart: of whom, what they are drawn from, and how they speak."""

    @abstractmethod
    def shots(
        self, manner: Manner, head: HeadMotion | None, settings: Settings, first: int = 0
    ) -> Generator[Shot, None, None]:
        """The frames from number `first` on, without end, made a little ahead. head: as which a still's moves."""

    @abstractmethod
    def frame_rate(self, manner: Manner) -> Fraction:
        """Frames/s that are shown; the mean, where they vary."""

    @property
    @abstractmethod
    def size(self) -> tuple[int, int]:
        """Width and height of its frames, px."""

    @abstractmethod
    def is_over(self, manner: Manner, number: int, seconds: float, heard: float) -> bool:
        """Whether so many seconds of audio have no frame of this number, or at this time."""

    @abstractmethod
    def sitting(self, shot: Shot, model: Model) -> Sitting | None:
        """The shot as it is drawn; None where it is passed through."""

    @abstractmethod
    def kept(self) -> Kept:
        """All of it, as a file can hold it."""

    @classmethod
    @abstractmethod
    def of_kept(cls, kept: Kept, video: Path | None) -> Identity:
        """The inverse of `kept`."""

    def _facts(self) -> dict[str, object]:
        return {"path": str(self.path), "notes": list(self.notes), "model": self.model}

    def save(self, file: Path | str, *, overwrite: bool = False) -> None:
        """Writes it, whole or not at all; of a video no frames, only what was found in them. Raises OutputError."""
        keeping.write(Path(file), self.kept(), overwrite=overwrite)

    @staticmethod
    def load(file: Path | str, *, video: Path | str | None = None) -> Identity:
        """What `save` wrote: it draws the same frames. Raises InputError.

        video: where the video lies now, if it was moved; a portrait needs its picture no more.
        """
        kept = keeping.read(Path(file))
        kind = kept.facts["kind"]
        cls: type[Identity] = getattr(import_module(f"{__package__}.{kind}"), KINDS[kind])
        try:
            return cls.of_kept(kept, None if video is None else Path(video))
        except InputError as error:
            raise InputError(f"{file}: {error}") from None


def check_size(path: Path, eye_distance: float, settings: Settings) -> None:
    least = settings.finding.min_eye_distance
    if eye_distance < least:
        raise FaceError(
            f"{path}: the eyes are {eye_distance:.0f} px apart; at least {least:.0f} are needed; "
            "come nearer, or give more pixels"
        )


def lookout_of(model: Model) -> Lookout | None:
    """None where the model's folder has no net for it: then nothing is taken to lie before a face."""
    return Lookout(model.graph("cover"), model.settings) if "cover" in model.graphs else None
