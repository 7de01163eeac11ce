"""The command line: one function per command; each parses, calls one library function, and prints.

    difftalk animate PORTRAIT AUDIO -o OUT.mp4
    difftalk dub VIDEO AUDIO -o OUT.mp4
    difftalk live SOURCE [SOUND] -o OUT
    difftalk prepare CLIPS OUT
    difftalk pack DATA -o PACK
    difftalk train first-stage|motion|denoiser|painter|folds|head|geometry DATA --out RUN
    difftalk export OUT --first-stage RUN --denoiser RUN ...
    difftalk evaluate DATA -o REPORT
    difftalk bench

Everything here can be done from Python as well.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from difftalk import __version__
from difftalk.doors.bench import bench
from difftalk.doors.live import live
from difftalk.doors.printing import print_judged, print_result, progress_bar
from difftalk.doors.words import gains_of, only, typed
from difftalk.errors import InputError
from difftalk.process import exit_code_of

if TYPE_CHECKING:
    from difftalk.talk.talker import Talker

app = typer.Typer(
    add_completion=False,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    help="Make a portrait speak, or a video say something else.",
)


def _say_version(asked: bool) -> None:
    if asked:
        print(f"difftalk {__version__}")
        raise typer.Exit


_Version = Annotated[bool, typer.Option("--version", is_eager=True, callback=_say_version, help="Print it and stop.")]


@app.callback()
def _all_commands(version: _Version = False) -> None: ...


_Out = Annotated[Path, typer.Option("-o", "--out", help="The mp4 to write.")]
_Model = Annotated[Optional[str], typer.Option("--model", help="A model's name or folder; the shipped one if none.")]  # noqa: UP045
_Steps = Annotated[int | None, typer.Option("--steps", help="Denoising steps, 1 to 1000.")]
_Seed = Annotated[int, typer.Option("--seed", help="Fixes noise, head motion and blinks.")]
_Articulation = Annotated[float, typer.Option("--articulation", help="Gain of the mouth's movement, 0 to 3.")]
_Precision = Annotated[str, typer.Option("--precision", help="auto (whatever is fastest here), int8, bf16 or f32.")]
_Json = Annotated[bool, typer.Option("--json", help="Print one JSON object instead of words.")]
_Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace an existing output.")]
_Set = Annotated[Optional[list[str]], typer.Option("--set", help="A setting, a.b=value; may be given again.")]  # noqa: UP045


def _talker(
    model: str | None, precision: str, settings: list[str] | None, *, steps: int | None, seed: int, articulation: float
) -> Talker:
    from difftalk.talk.talker import Talker

    return Talker.from_pretrained(
        model, precision=precision, settings=settings or [], steps=steps, seed=seed, articulation=articulation
    )


@app.command()
def animate(
    portrait: Path,
    audio: Path,
    out: _Out,
    model: _Model = None,
    steps: _Steps = None,
    seed: _Seed = 0,
    articulation: _Articulation = 1.0,
    size: Annotated[
        int | None, typer.Option("--size", help="Long side, px, to which a larger picture is shrunk: 1080.")
    ] = None,
    head_motion: Annotated[float, typer.Option("--head-motion", help="How far the head moves, 0 (off) to 2.")] = 1.0,
    blinks: Annotated[float, typer.Option("--blinks", help="How often the eyes close, 0 (never) to 2.")] = 1.0,
    head_from: Annotated[Path | None, typer.Option("--head-from", help="A video as whose head this one moves.")] = None,
    precision: _Precision = "auto",
    settings: _Set = None,
    as_json: _Json = False,
    overwrite: _Overwrite = False,
) -> None:
    """A portrait speaks. AUDIO is any audio or video file, or - for standard input; its sound is kept as it is."""
    with progress_bar(as_json) as progress:
        talker = _talker(model, precision, settings, steps=steps, seed=seed, articulation=articulation)
        result = talker.animate(
            portrait,
            audio,
            out,
            size=size,
            head_motion=head_motion,
            blinks=blinks,
            head_from=head_from,
            overwrite=overwrite,
            progress=progress,
        )
    print_result(result, as_json)


@app.command()
def dub(
    video: Path,
    audio: Path,
    out: _Out,
    model: _Model = None,
    steps: _Steps = None,
    seed: _Seed = 0,
    articulation: _Articulation = 1.0,
    fit: Annotated[
        str, typer.Option("--fit", help="When the audio is longer: bounce, loop or hold the video.")
    ] = "bounce",
    keep_tail: Annotated[
        bool, typer.Option("--keep-tail", help="When the audio is shorter: keep the video's end and its own sound.")
    ] = False,
    own_way: Annotated[
        float, typer.Option("--own-way", help="0 to 1: how far the mouth moves as the video's speaker moves theirs.")
    ] = 1.0,
    precision: _Precision = "auto",
    cache: Annotated[bool, typer.Option("--cache/--no-cache", help="Keep what is found in the video.")] = True,
    settings: _Set = None,
    as_json: _Json = False,
    overwrite: _Overwrite = False,
) -> None:
    """A video's person says something else. Frames without a usable face pass through untouched."""
    with progress_bar(as_json) as progress:
        talker = _talker(model, precision, settings, steps=steps, seed=seed, articulation=articulation)
        result = talker.dub(
            video,
            audio,
            out,
            fit=fit,  # type: ignore[arg-type]
            keep_tail=keep_tail,
            own_way=own_way,
            cache=cache,
            overwrite=overwrite,
            progress=progress,
        )
    print_result(result, as_json)


@app.command()
def prepare(
    clips: Path,
    out: Path,
    settings: _Set = None,
    workers: Annotated[int, typer.Option(help="Processes; 0: one a core.")] = 0,
    layout: Annotated[str, typer.Option(help="samples; hdtf: DiffTalk's published layout as well.")] = "samples",
) -> None:
    """Clips -> samples to train and evaluate on. CLIPS: a folder of videos, or one with a manifest.csv."""
    from difftalk.data.hdtf import check_new, write_hdtf
    from difftalk.data.prepare import prepare as work
    from difftalk.data.sample import load_samples
    from difftalk.model import Model

    if layout not in ("samples", "hdtf"):
        raise InputError(f"--layout {layout}: allowed are samples and hdtf")
    if layout == "hdtf":
        check_new(out / "hdtf")
    rights = only(settings, "data.rights")
    with progress_bar(False) as progress:
        report = work(
            clips,
            out,
            model=Model.load(),
            rights=rights,
            workers=workers,
            progress=progress,
        )
    kept = [record for record in report.records if record.kept]
    for record in report.records:
        if not record.kept:
            print(f"dropped {record.name}: {record.reason}")
    print(f"{len(kept)} of {len(report.records)} clips kept ({report.resumed} stood there already): {out}")
    if layout == "hdtf":
        written = write_hdtf(load_samples(out), out / "hdtf")
        print(f"{written.train} frames to train on, {written.test} to test on: {out / 'hdtf'}")


@app.command()
def pack(
    data: Annotated[Path, typer.Argument(help="A folder that prepare wrote.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The pack's folder; a new one.")],
    megabytes: Annotated[float, typer.Option(help="Of the whole folder, 10^6 bytes each.")] = 55.0,
    held_out: Annotated[float, typer.Option(help="Share of the people that are for validation.")] = 0.04,
    speech_components: Annotated[int, typer.Option(help="Principal components that speech is kept as.")] = 256,
    model: _Model = None,
) -> None:
    """Prepared training clips -> one folder of a few files that another machine can train on."""
    from difftalk.data.packer import Options
    from difftalk.data.packer import pack as work
    from difftalk.model import Model

    options = Options(megabytes=megabytes, held_out=held_out, speech_components=speech_components)
    with progress_bar(False) as progress:
        done = work(data, out, model=Model.load(model, threads=1), options=options, progress=progress)
    print(f"{done.people} people ({done.held_out} held out), {done.clips} clips, {done.frames} frames: {out}")
    print(", ".join(f"{name} {size / 1e6:.2f} MB" for name, size in done.bytes.items()))


@app.command()
def train(
    kind: Annotated[str, typer.Argument(help="first-stage, motion, denoiser, painter, folds, head or geometry")],
    data: Annotated[
        Path | None, typer.Argument(help="A folder that prepare wrote; not needed by the recipe debug.")
    ] = None,
    out: Annotated[Optional[Path], typer.Option("-o", "--out", help="The run's folder; runs/KIND by default.")] = None,  # noqa: UP045
    recipe: Annotated[
        str,
        typer.Option(help="debug, default; linear (motion), joint, sharp (denoiser), paper, paper-small."),
    ] = "default",
    start: Annotated[Optional[Path], typer.Option("--from", help="A run or .safetensors to start from.")] = None,  # noqa: UP045
    settings: _Set = None,
    steps: Annotated[Optional[int], typer.Option(help="Stop at this step.")] = None,  # noqa: UP045
    minutes: Annotated[float, typer.Option(help="Stop after so many minutes of training.")] = float("inf"),
    threads: Annotated[int, typer.Option(help="Threads; 0: as torch likes.")] = 0,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Trains one net. A run that was stopped goes on where it was."""
    from difftalk.training import run as runs

    folder = out or Path("runs") / kind
    done = runs.train_kind(
        kind,
        data,
        folder,
        recipe=recipe,
        start_from=start,
        settings=settings or [],
        steps=steps,
        minutes=minutes,
        threads=threads,
        device=device,
    )
    print(f"{done}: {folder}")


@app.command()
def export(
    out: Path,
    first_stage: Annotated[Optional[Path], typer.Option(help="Run of the first stage.")] = None,  # noqa: UP045
    denoiser: Annotated[Optional[Path], typer.Option(help="Run of the denoiser.")] = None,  # noqa: UP045
    painter: Annotated[Optional[Path], typer.Option(help="Run of the painter.")] = None,  # noqa: UP045
    folds: Annotated[Optional[Path], typer.Option(help="Run of the folds.")] = None,  # noqa: UP045
    motion: Annotated[Optional[Path], typer.Option(help="Run of the motion network.")] = None,  # noqa: UP045
    linear: Annotated[Optional[Path], typer.Option(help="Run of the linear motion.")] = None,  # noqa: UP045
    head: Annotated[Optional[Path], typer.Option(help="Run of the head's motion.")] = None,  # noqa: UP045
    base: Annotated[
        Path | None, typer.Option(help="Model folder that gives the rest; the shipped one by default.")
    ] = None,
    data: Annotated[
        Path | None, typer.Option(help="Prepared clips: to measure the motion's gain, to put nets into integers.")
    ] = None,
    gain: Annotated[
        Optional[list[str]],  # noqa: UP045
        typer.Option(help="motion=NUMBER or linear=NUMBER: a gain that is known; may be given again."),
    ] = None,
    weights: Annotated[
        Path | None, typer.Option(help="Folder that gets the runs' weights as safetensors, for train --from.")
    ] = None,
    fp16: Annotated[Optional[bool], typer.Option("--fp16/--f32", help="How weights are stored.")] = None,  # noqa: UP045
) -> None:
    """Writes a model folder from training runs; what no run is given for comes from the base."""
    from difftalk.training.export import export_model

    given = {
        "first-stage": first_stage,
        "denoiser": denoiser,
        "painter": painter,
        "folds": folds,
        "motion": motion,
        "linear": linear,
        "head": head,
    }
    runs = {kind: run for kind, run in given.items() if run is not None}
    export_model(
        out, runs, base=base, weights=weights, data=data, gains=gains_of(gain or []), fp16=fp16, tell=print_judged
    )
    print(f"model folder: {out}")


@app.command()
def ablate(
    data: Annotated[Path | None, typer.Argument(help="A folder that prepare wrote.")] = None,
    out: Annotated[Path, typer.Option("-o", "--out", help="The runs' folder.")] = Path("runs/ablation"),
    recipe: Annotated[str, typer.Option(help="debug or default.")] = "default",
    minutes: Annotated[float, typer.Option(help="Of training, for each variant.")] = 60.0,
    threads: Annotated[int, typer.Option(help="Threads; 0: as torch likes.")] = 0,
    steps: Annotated[Optional[int], typer.Option(help="At most so many steps of each net.")] = None,  # noqa: UP045
) -> None:
    """Trains the model anew without one part at a time, for the same time each, and prints a table."""
    from difftalk.training import ablation

    def tell(what: str, done: int, total: int) -> None:
        print(f"{done} of {total}: {what}")

    table = ablation.ablate(data, out, minutes=minutes, recipe=recipe, threads=threads, steps=steps, progress=tell)
    print(table)


@app.command()
def convert(file: Path, out: Path) -> None:
    """A checkpoint in DiffTalk's published layout, or CompVis's VQ first stage -> a folder to train on and export."""
    from difftalk.training import convert as conversion

    print(conversion.convert(file, out))


@app.command()
def evaluate(
    data: Annotated[Path, typer.Argument(help="A folder that prepare wrote, or clips, which are prepared first.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The report's folder.")],
    protocol: Annotated[list[str] | None, typer.Option(help="One protocol; may be given again.")] = None,
    table: Annotated[Optional[str], typer.Option(help="One of the paper's: ablation or comparison.")] = None,  # noqa: UP045
    model: _Model = None,
    precision: _Precision = "auto",
    split: Annotated[Optional[str], typer.Option(help="People to measure on; val where there are such.")] = None,  # noqa: UP045
    full: Annotated[bool, typer.Option("--full", help="Every clip, every protocol.")] = False,
    seconds: Annotated[float, typer.Option(help="At most so much of each clip.")] = 5.0,
    outputs: Annotated[
        Path | None, typer.Option(help="Another tool's videos, FOLDER/PROTOCOL/NAME.mp4, to judge instead.")
    ] = None,
    tasks: Annotated[
        Path | None, typer.Option(help="Write here what another tool is to make its videos of, and stop.")
    ] = None,
    syncnet: Annotated[
        Path | None, typer.Option(help="Your own syncnet_v2.model, to judge sync instead of the shipped net.")
    ] = None,
    inception: Annotated[Path | None, typer.Option(help="Your own inception-2015-12-05.pt: adds FID.")] = None,
    i3d: Annotated[Path | None, typer.Option(help="Your own i3d_torchscript.pt: adds FVD.")] = None,
    gates: Annotated[
        bool, typer.Option("--gates", help="Print how far the sync judge can be trusted, and stop.")
    ] = False,
    as_json: _Json = False,
) -> None:
    """Measures a model, or another tool's videos, on people that training never saw."""
    from difftalk.evaluation.protocols.tables import TABLES
    from difftalk.evaluation.report import report as reports
    from difftalk.evaluation.report.cache import OwnNets

    if table is not None and table not in TABLES:
        raise InputError(f"--table {table}: allowed are {' and '.join(TABLES)}")
    chosen = [*(protocol or []), *([table] if table else [])]
    own = OwnNets(syncnet, inception, i3d)
    with progress_bar(as_json) as progress:
        if gates:
            print(reports.check_judge(data, out, split=split, own=own, progress=progress))
            return
        if tasks is not None:
            count = reports.write_tasks(
                data, out, tasks, chosen=chosen, split=split, seconds=seconds, full=full, progress=progress
            )
            print(f"{count} tasks: {tasks / 'tasks.csv'}")
            return
        report = reports.evaluate(
            data,
            out,
            chosen=chosen,
            model=model,
            precision=precision,
            split=split,
            seconds=seconds,
            full=full,
            outputs=outputs,
            own=own,
            progress=progress,
        )
    print(json.dumps(report.content) if as_json else f"{report.text}\n\n{out / 'report.html'}")


app.command()(bench)
app.command()(live)


def main() -> None:
    raise SystemExit(exit_code_of(app, wording=typed))
