"""Settings: every tuned number that changes a frame. A model folder carries its own; they are hashed with its graphs.

Sizes and rates that the nets were made for are not here: those are constants where they are used.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, field, fields
from functools import cache
from typing import Any, Final

from difftalk import ranges
from difftalk.errors import InputError, ModelError
from difftalk.records import filled, flat, parsed

RENDERERS: Final = ("denoiser", "painter", "published")
MOTIONS: Final = ("motion", "linear")


@dataclass(frozen=True)
class Finding:
    """Faces in a picture (`face.finder`)."""

    min_score: float = 0.5
    min_eye_distance: float = 16.0  # px in the source
    max_yaw: float = 45.0  # degrees: beyond it a frame is passed through
    finest_tile: int = 200  # px: in tiles between this and twice this, the smallest eyes are seen
    tile_step: float = 0.65  # of a tile's side from one to the next
    plain: int = 16  # levels: a tile that spans fewer shows sky or wall
    view: float = 1.4  # of the mesh's square: what the detector is shown to confirm a mesh
    seen_score: float = 0.65
    sure_score: float = 0.85  # upside-down faces taken for upright ones have less
    # how much larger, and turned by how many radians
    steady_squares: tuple[tuple[float, float], tuple[float, float]] = ((1.2, 0.25), (0.85, -0.25))
    steady: float = 0.2  # eye distances that a doubtful face's mesh moves: 0.04 to 0.18 faces, from 0.23 others
    right_score: float = 0.98  # of the mesh of a masked face; of 110 that are not masked none reach it the wrong way up
    seen_apart: float = 0.38  # eye distances between that view's eyes and the mesh's


@dataclass(frozen=True)
class Mouths:
    """The mouth at rest, and lips that all but meet (`face.mouth`, `speech.motion`)."""

    neutral_share: float = 0.25  # of a clip's frames, the most closed ones, that make its neutral
    neutral_min_frames: int = 8
    rest_opening: float = 0.018  # eye distances: what is tracked of lips that meet
    press: float = 0.01  # eye distances by which lips that are all but closed are closed further
    press_under: float = 0.04  # opening over the neutral's at which half of it is left
    press_over: float = 0.015  # over which it goes


@dataclass(frozen=True)
class Recognition:
    """Who is seen (`face.recognition`)."""

    changed: float = 0.5  # distance from a run's mean from which a face is another one
    same: float = 0.45  # distance of two runs' means under which they show one person
    every: int = 12  # frames, from one look at who it is to the next
    settling: int = 3  # frames from look to look while a face is becoming another
    settled: float = 0.3  # distance of two such looks under which it has become it
    parted: float = 0.35  # distance from a run's mean within which a frame held in the meantime is its
    most_held: int = 24  # frames
    # px, width and height of what is compared frame by frame: from the brows to the nose
    glance: tuple[int, int] = (24, 16)
    glance_jump: float = 14.0  # levels of mean change at which a look is taken at once


@dataclass(frozen=True)
class Following:
    """A video's faces, from frame to frame (`face.tracker`)."""

    smoothing_sigma: float = 1.5  # frames: how far the alignment is smoothed over time
    smoothing_reach: int = 4  # frames of look-ahead and look-back that the smoothing uses
    cut_jump: float = 0.5  # eye distances that a face moves between two frames only at a cut
    cut_zoom: float = 0.3  # the same for its size, natural logarithm
    hurried_frames: int = 50  # of a video searched without patience after a patient search found nothing


@dataclass(frozen=True)
class Features:
    """How loud the nets hear (`speech.features`, `speech.voice_detector`)."""

    soft: float = -35.0  # dBFS; a window whose loudest moment is under that is made louder
    raised: float = -25.0  # dBFS at most to which
    speech_range: float = 15.0  # dB at least between the loudest and the quiet moments of what is no steady noise
    loud: float = 0.1  # root mean square to which the loudest of the last moments is raised
    loud_steps: int = 93  # steps of 32 ms among which the loudest counts for that
    most_gain: float = 100.0


@dataclass(frozen=True)
class Loudness:
    """When the mouth rests, what is stressed (`speech.loudness`)."""

    silence_level: float = -50.0  # dBFS
    silence_seconds: float = 0.5
    nothing: float = -60.0  # dBFS; a sample that is louder opens a mouth again that has been told to close
    hush_seconds: float = 0.12  # in which it closes
    quiet: float = -47.0  # dBFS under which the mouth begins to rest
    quiet_fade: float = 6.0  # dB further down it rests
    quiet_under: float = 25.0  # dB under the loudest of the last moments, where that is softer
    loud: float = -50.0  # dBFS from which it is a voice, however soft
    loud_rows: int = 90  # levels before a moment of which the loudest counts for that
    # levels before and after a moment of which the loudest counts: not a gap between words
    heard_rows: tuple[int, int] = (8, 12)
    fade_rows: int = 3  # levels before and after over which rest and motion are blended
    noise_rows: int = 200  # levels before a moment among which those without a voice are the room's noise
    noise_least: int = 15  # levels without a voice that tell the noise
    noise_over: float = 9.0  # dB over the noise under which the mouth begins to rest
    noise_under: float = 12.0  # dB at least that this stays under the loudest of the last moments
    no_voice: float = 0.1  # chance up to which the mouth rests
    voice: float = 0.25  # from which it moves
    certain: float = 0.5  # from which even what is softer than silence is a voice
    voice_steps: tuple[int, int] = (31, 12)  # of the detector before a moment, counting less and less, and after it
    emphasis_rows: int = 70  # levels before a moment beside which it is loud or not
    emphasis_after: int = 16  # levels after it that count, and as many before it
    emphasis_decibels: float = 10.0  # louder by this is well emphasised


@dataclass(frozen=True)
class OwnWay:
    """How much film tells of a speaker's own way (`speech.own_way`)."""

    shape_frames: float = 300.0  # of film that the motion as it is weighs, in units of its spread
    sound_frames: float = 1000.0  # that having nothing to add to it weighs
    own_frames: float = 100.0  # from which the mean is half the person's own
    spread_frames: float = 400.0  # from which the components' spreads are
    opening_frames: float = 25.0  # from which the opening's spread is
    least_frames: int = 75  # from which anything is learnt
    least_r: float = 0.35  # of the opening, under which the sound is not the mouth's own
    reach: int = 10  # frames at 25/s within which the lips may lead or lag the sound
    least_spread: float = 0.001


@dataclass(frozen=True)
class Cover:
    """What lies before a face (`render.cover`)."""

    sure: float = 0.95  # a piece of cover has a cell from here on
    large: int = 200  # cells of a piece that is a cover
    large_sure: float = 0.84  # with a cell from here on: dark bars of captions are large but less sure
    perhaps: float = 0.3  # and all its cells from here on
    least: int = 12  # cells of a piece, and of all pieces together on the lower face
    whole: tuple[float, float] = (0.25, 0.6)  # shares from which something of a cell is kept, and all of it
    mouth_covered: float = 0.5  # share of the mouth from which it is not seen
    shortest: int = 3  # frames in a row for which something is before the face; shorter gaps are closed
    seen_again: int = 7  # frames in a row for which a mouth is seen between two that are covered
    room: int = 5  # px, aligned: around a cover, that is filled as well


@dataclass(frozen=True)
class Lips:
    """Where lips meet, and what lies between them (`render.lips`, `render.inner_mouth`)."""

    shut: float = 0.018 * 64  # px, aligned: lips that are tracked so far apart meet
    parted: float = 2 * 0.018 * 64  # px, aligned: from here on they are apart
    overlap: float = 1.0  # px, aligned: of a lip's edge, which is dark from the mouth, that is covered where lips meet
    seam: float = 1.5  # px, aligned: beyond a lip's edge, where the warp's map may be the other lip's or the mouth's
    # px, sigma along and across lips that meet over which the networks' change is evened
    join: tuple[float, float] = (2.0, 0.5)
    shows_little: float = 0.25  # share of the target's opening under which a reference's mouth shows nothing
    shows_enough: float = 0.6  # and from which it shows what there is to see
    thin: float = 0.5  # px: an opening under this is none


@dataclass(frozen=True)
class References:
    """Which picture is nearest (`render.references`)."""

    face_margin: int = 64  # aligned px around the aligned space that a kept reference holds
    opening_step: float = 0.05  # eye distances
    width_step: float = 0.12  # eye distances
    max_mouths: int = 12
    turn_weight: float = 0.3  # units of mouth shape that a degree of turn counts for
    stay: float = 0.3  # units of mouth shape another mouth must be nearer before it takes over
    turn_stay: float = 3.0  # degrees another reference must be nearer before it takes over


@dataclass(frozen=True)
class Drawing:
    """What is done with what the nets draw (`render.renderer`, `render.paste`)."""

    previous_share: float = 0.5  # of its own last latent that the denoiser sees: its errors feed on themselves
    change_held: float = 0.3  # share of the decoder's change beyond the inner mouth that is left out
    mouth_rim: int = 9  # px of the patch by which the inner mouth is widened for that
    mouth_soft: float = 3.0  # px of the patch, sigma of its edge
    crispness: float = 0.3  # share of the inner mouth's detail that is added to it once more
    crisp_reach: float = 2.5  # px of the patch, sigma of what is no detail
    # most green and blue over red in the inner mouth, of the skin's own; white in the same light has 1.49 and 1.78
    most_tint: tuple[float, float] = (1.45, 1.65)
    tint_reach: float = 1.2  # px of the patch, sigma of the colour that is looked at
    tint_dark: float = 0.02  # [-1, 1] units, so dark that there is no colour
    detail_whole: float = 0.8  # share of the composite's brightness from which its detail is shown whole
    even_from: float = 1.25  # px of a grid in one of the frame, from which what was drawn is evened lest it flicker
    blend: float = 6.0  # px below the nose over which what was drawn comes in


@dataclass(frozen=True)
class Surroundings:
    """What moves around the face, and its light (`render.surroundings`)."""

    light_noise: float = 0.03  # a difference of light up to here is none: skin moves below the eyes
    max_light: float = 0.15  # what a frame's light may differ by, [-1, 1] units
    # px left and right, above and below a rim point, over which the motion's median is taken
    patch: tuple[int, int] = (7, 5)
    max_flow: float = 8.0  # px that the flow may add to the guess
    nearest: float = 2.0  # px added to every distance when a motion is spread
    power: float = 2.5  # of the distance by which a rim point's weight falls
    keep: float = 0.6  # of the flow's correction that stays from one frame to the next
    still: float = 0.8  # a scene is taken to stand still where that fits so much better than one fixed to the head
    head: float = 0.9  # and no longer where the head's fits so much better than a still one


@dataclass(frozen=True)
class Warp:
    """The warp (`render.warp`)."""

    rings: tuple[float, float, float] = (1.15, 1.35, 1.7)  # face oval scaled from between the eyes
    # of the oval's displacement; the rest is the surroundings' motion
    ring_shares: tuple[float, float, float] = (0.6, 0.2, 0.0)
    stray: float = 0.5  # px, aligned: so far from the median of those around it a pixel of a map may look
    tear: float = 5.0  # px, aligned, that three pixels in a row may span; where nothing moves they span 2


@dataclass(frozen=True)
class Head:
    """How a still's head is turned (`render.head_field`). Eye distances, unless it says otherwise."""

    limits: tuple[float, float, float, float, float, float, float] = (
        12.0,
        9.0,
        8.0,
        0.25,
        0.2,
        0.12,
        0.12,
    )  # of a pose
    neck: tuple[float, float] = (0.04, 0.04)  # that the neck moves at most, so that lines behind the head stay straight
    # degrees of roll, the neck's motion and the size's logarithm, at most, where many lines are seen behind the head
    before_lines: tuple[float, float, float, float] = (2.0, 0.012, 0.012, 0.03)
    lines: tuple[float, float] = (2.5, 5.5)  # levels from grid point to grid point from which there are a few, and many
    lines_beside: tuple[float, float] = (1.1, 0.8)  # skulls from its middle and above the shoulders, where they count
    lines_around: float = 0.125  # sigma over which they are gathered
    lines_most: float = 20.0  # levels that a place counts for: a head's own outline is stronger than what is behind it
    lines_fade: float = 0.6  # beyond the face's oval, over which the head's motion ends before lines
    strain: float = 0.6  # share of itself by which one number of a pose squeezes any place at most
    strains: float = 0.95  # and all together, as the root of their squares; at 1 the picture could fold
    max_yaw: float = 40.0  # degrees from the camera up to which a head is turned
    least_turn: float = 2.0  # degrees that it may be turned however far it is already
    skull: tuple[float, float, float] = (1.3, 1.85, 1.5)  # half axes, hair included
    skull_middle: tuple[float, float] = (-0.2, 1.25)  # its middle, down and back from between the eyes
    fade: float = 1.0  # beyond the head, over which its motion ends
    border: float = 0.4  # before the picture's border, over which it ends
    jaw: float = 0.5  # beyond the face's oval, over which its depth goes over into the skull's
    blur: float = 0.07  # sigma over which depth is smoothed
    front: float = 2.0  # nearer by this a mesh's point hides another
    brow_reach: float = 0.16  # sigma of what goes with a brow
    step: float = 0.0625  # between the grid's points


@dataclass(frozen=True)
class Life:
    """How a still lives (`talk.life`)."""

    film_seconds: float = 60.0  # of another film, from its beginning, as which the head moves
    blink_seconds: tuple[float, float, float] = (0.08, 0.05, 0.14)  # closing, closed, opening
    blink_gap: tuple[float, float] = (2.2, 5.5)  # seconds between blinks
    blink_depth: float = 1.06  # of an eye's opening: what is tracked of it ends a little early
    # what follows is in eye distances, unless it says otherwise
    lid_room: float = 0.14  # above the lid's edge, from which its skin is drawn down
    lid_under: tuple[float, float] = (0.05, 0.15)  # below the eye, where its skin is looked at
    lid_light: tuple[float, float] = (0.6, 1.6)  # shares of skin's light: what is darker or brighter is none
    lid_contrast: float = 0.2  # share of light by which a lid may differ from its colour
    lid_usual: float = 0.6  # of the skin above an eye, that the skin below it counts for in a lid's colour
    lid_blur: float = 0.06  # sigma along the eye over which the skin's colour is evened
    lid_margin: float = 0.03  # by which a lid comes down further, since an eye may be larger than is tracked
    corner: float = 0.3  # share of an eye's width from its corners within which less is done
    lash_reach: float = 0.05  # above the lid's edge, up to which lashes may be dark
    rim: float = 0.38  # share of skin's light under which something above the lid may be the rim of glasses
    rim_along: float = 0.6  # share of an eye's width from which it is


@dataclass(frozen=True)
class People:
    """What a person is drawn from (`talk.person`)."""

    turn_bin: float = 8.0  # degrees of yaw and of pitch that a reference stands for
    max_references: int = 8
    covered_rank: float = 1000.0  # behind any frame that shows the face alone
    first_shapes: int = 8  # frames, all of which count for the neutral
    near_change: int = 12  # frames before and after one face becomes another in which both may be seen
    rank_stay: float = 0.02  # eye distances by which closed lips must be fuller to take the place of those drawn from


@dataclass(frozen=True)
class Still:
    """A still's picture (`talk.portrait`)."""

    small_eyes: float = 32.0  # px apart: a picture with a small face is shrunk to this
    largest: int = 1920  # px: long side of such a picture; what is larger then is cut to the face's surroundings
    size: int = 1080  # px: long side of an animated still unless told otherwise


@dataclass(frozen=True)
class Watching:
    """What a video tells (`talk.watching`)."""

    blended: int = 5  # frames before and after one face becomes another that are passed through: no mouth fits them
    neutral_frames: int = 1500  # of a video, from which its neutral is taken
    jaw_margin: float = 8.0  # px, aligned: between the source's own chin and the region's border
    min_zoom: float = 0.6
    own_seconds: float = 60.0  # of a video, from its beginning, from which the speaker's own way is learnt
    wary: int = 8  # frames for which what was before the face may not be quite gone
    seen_frames: int = 6  # from which somebody is spoken of
    zoom_reach: int = 12  # frames before and after one that needs a larger mask over which it grows
    first_seconds: float = 3.5  # of a video that are looked at before its first frame is drawn
    pace: float = 2.0  # frames that are looked at while one is drawn
    eased: int = 25  # frames over which what has been learnt anew of a person takes over


@dataclass(frozen=True)
class Settings:
    """How a folder's graphs are used.

    renderer: denoiser, painter or published. motion: motion or linear. steps: of denoising, unless told otherwise.
    picture: px, side of what the published system draws.
    """

    renderer: str = "denoiser"
    motion: str = "motion"
    steps: int = 1
    picture: int = 256
    finding: Finding = field(default_factory=Finding)
    mouths: Mouths = field(default_factory=Mouths)
    recognition: Recognition = field(default_factory=Recognition)
    following: Following = field(default_factory=Following)
    features: Features = field(default_factory=Features)
    loudness: Loudness = field(default_factory=Loudness)
    own_way: OwnWay = field(default_factory=OwnWay)
    cover: Cover = field(default_factory=Cover)
    lips: Lips = field(default_factory=Lips)
    references: References = field(default_factory=References)
    drawing: Drawing = field(default_factory=Drawing)
    surroundings: Surroundings = field(default_factory=Surroundings)
    warp: Warp = field(default_factory=Warp)
    head: Head = field(default_factory=Head)
    life: Life = field(default_factory=Life)
    people: People = field(default_factory=People)
    still: Still = field(default_factory=Still)
    watching: Watching = field(default_factory=Watching)

    def __post_init__(self) -> None:
        if self.renderer not in RENDERERS:
            raise ModelError(f"renderer {self.renderer!r} is not known; allowed: {', '.join(RENDERERS)}")
        if self.motion not in MOTIONS:
            raise ModelError(f"motion {self.motion!r} is not known; allowed: {', '.join(MOTIONS)}")
        ranges.check(flat(asdict(self)), _usual())

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Settings:
        """From what `asdict` or JSON made of it; numbers that are not named are the default ones. Raises TypeError."""
        return filled(cls(), values)

    def changed(self, texts: Sequence[str]) -> Settings:
        """With other values: "loudness.quiet=-50", "life.blink_gap=2,4". Raises InputError."""
        values = asdict(self)
        for text in texts:
            name, given, value = text.partition("=")
            *groups, last = name.strip().split(".")
            place: Any = values
            for group in groups:
                place = place.get(group) if isinstance(place, dict) else None
            if not given or not isinstance(place, dict) or last not in place or isinstance(place[last], dict):
                raise InputError(f"setting {text!r} is not known; allowed are NAME=VALUE of {self._near(name)}")
            place[last] = parsed(text, value, place[last])
        return Settings.of(values)

    def _near(self, name: str) -> str:
        """What can be set in the group that a name begins with; without such a group, all groups."""
        group = f"{name.strip().split('.')[0]}."
        found = [known for known in self.names() if known.startswith(group)]
        return ", ".join(found or dict.fromkeys(re.sub(r"\..*", ".*", known) for known in self.names()))

    def differing(self, other: Settings) -> dict[str, Any]:
        """This one's values where they are not the other's, by dotted name."""
        mine, theirs = flat(asdict(self)), flat(asdict(other))
        return {name: value for name, value in mine.items() if value != theirs[name]}

    def names(self) -> list[str]:
        """All of them, dotted."""
        return list(flat(asdict(self)))


@cache
def _usual() -> dict[str, Any]:
    """The default ones, by dotted name."""
    groups = {one.name: asdict(one.default_factory()) for one in fields(Settings) if one.default_factory is not MISSING}
    return flat({one.name: groups.get(one.name, one.default) for one in fields(Settings)})
