"""Commands that ask a stored scene: tracks, flow, segment, match, objects and fuse."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dynapoint.cli.common import Flag, OutputOption
from dynapoint.cli.scene import SceneCommand

if TYPE_CHECKING:
    from dynapoint.results.reconstruction import Reconstruction

_Index = Annotated[int, tyro.conf.arg(metavar="INDEX")]


@dataclass(frozen=True, kw_only=True)
class _AnswerCommand(SceneCommand):
    """A question to a stored scene whose answer is a file of arrays."""

    output: OutputOption
    """File to write; the suffix of its format is added where it is missing."""
    overwrite: Flag = False
    """Replace the file if it is there."""

    def run(self) -> int:
        """Ask, write, and say in one line what was found."""
        import sys  # noqa: PLC0415

        from dynapoint.exports.outputs import check_free  # noqa: PLC0415

        check_free(self.output, f".{self.file_format}", overwrite=self.overwrite)
        answer, said = self.ask(self.open(progress=sys.stderr.isatty()))
        print(f"{said}; in {self.write(answer)}")
        return 0

    @property
    def file_format(self) -> str:
        """What is written: arrays, unless the command offers more."""
        return "npz"

    def write(self, answer: Any) -> Path:
        """Write the answer; returns the file."""
        from dynapoint.exports.answer_files import write_arrays  # noqa: PLC0415

        return write_arrays(answer, self.output, overwrite=self.overwrite)

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """The answer, and what to say of it."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Tracks(_AnswerCommand):
    """Where pixels of one frame are at all times, in 3D and in the images, and whether seen.

    NPZ: points (time, track, 3) in the world, xy_px in the original images, visible, confidence.
    """

    frame: _Index = 0
    """Whose pixels."""
    every: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Every N-th pixel of the map in both directions."""
    xy: Annotated[tuple[tuple[float, float], ...], tyro.conf.arg(metavar="X Y")] = ()
    """Places in original pixels instead."""
    to: Literal["npz", "ply"] = "npz"
    """ply: the ways of points as lines, where they are seen."""

    @property
    def file_format(self) -> str:
        """Arrays or lines."""
        return self.to

    def write(self, answer: Any) -> Path:
        """Write arrays or lines."""
        if self.to == "npz":
            return super().write(answer)
        from dynapoint.exports.answer_files import write_track_lines  # noqa: PLC0415

        drawn = answer.visible > 0.5
        return write_track_lines(answer.points, drawn, self.output, overwrite=self.overwrite)

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """Tracks of the places, or of a grid."""
        from dynapoint.cli.common import UsageError  # noqa: PLC0415

        if self.every < 1:
            raise UsageError(f"--every is {self.every}; give 1 or more")
        tracks = rec.track(frame=self.frame, xy=list(self.xy) or None, every=self.every)
        seen = float(tracks.visible.mean())
        return (
            tracks,
            f"{tracks.points.shape[1]} tracks at {rec.frame_count} times, {seen:.0%} seen",
        )


@dataclass(frozen=True, kw_only=True)
class Flow(_AnswerCommand):
    """How the pixels of a frame move to another time: object, scene or optical flow.

    NPZ: flow in scene units (optical: flow_px in map pixels) and valid.
    """

    frame: _Index = 0
    """Whose pixels."""
    to: _Index = 1
    """Index of the frame at whose time they are asked for."""
    kind: Literal["object", "scene", "optical"] = "object"
    """object: in the world; scene: as seen by the moving camera; optical: in the image."""

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """The flow of one pair of times."""
        if self.kind == "optical":
            optical = rec.optical_flow(frame=self.frame, to_frame=self.to)
            return optical, f"optical flow, {float(optical.inside.mean()):.0%} stay in the image"
        ask = rec.object_flow if self.kind == "object" else rec.scene_flow
        flow = ask(frame=self.frame, to_time=self.to)
        return flow, f"{self.kind} flow, {float(flow.valid.mean()):.0%} of the pixels valid"


@dataclass(frozen=True, kw_only=True)
class Segment(_AnswerCommand):
    """Which pixels of a frame move during the clip, or until one time.

    NPZ: probability, displacement, expected_error, valid.
    """

    frame: _Index = 0
    """Whose pixels."""
    to: Annotated[int | None, tyro.conf.arg(metavar="INDEX")] = None
    """Only between the frame's own time and this one."""

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """Probability of motion."""
        found = (
            rec.motion(frame=self.frame)
            if self.to is None
            else rec.motion_between(frame=self.frame, to_time=self.to)
        )
        return found, f"{float((found.probability > 0.5).mean()):.1%} of the pixels move"


@dataclass(frozen=True, kw_only=True)
class Match(_AnswerCommand):
    """Where the pixels of a frame are in another one, moving parts included.

    NPZ: xy_px in map pixels of the other frame, distance, mutual, valid, score.
    """

    frame: _Index = 0
    """Whose pixels."""
    to: _Index = 1
    """Frame in which they are searched for."""

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """Matches of all pixels."""
        found = rec.match(frame=self.frame, to_frame=self.to)
        return found, f"{float((found.valid & found.mutual).mean()):.0%} of the pixels matched"


@dataclass(frozen=True, kw_only=True)
class Objects(_AnswerCommand):
    """Masks of what moves, one number for one thing in all frames.

    NPZ: instance (frame, map_height, map_width), 0 where nothing moves; score and pixels of each.
    """

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """Masks in all frames."""
        found = rec.objects()
        return found, f"{len(found.pixels)} moving objects"


@dataclass(frozen=True, kw_only=True)
class Fuse(_AnswerCommand):
    """All frames at one time as one cloud, motion undone, or what stands still alone.

    NPZ: points, colors, confidence, seen (point, frame) and the pixel that each point comes from.
    """

    time: _Index = 0
    """Index of the frame at whose time everything is put."""
    static: Flag = False
    """The background alone, without what moves."""
    max_points: Annotated[int | None, tyro.conf.arg(metavar="N")] = None
    """At most so many points."""
    to: Literal["npz", "ply"] = "npz"
    """ply: points, colours and confidence for any viewer of clouds."""

    @property
    def file_format(self) -> str:
        """Arrays or a cloud."""
        return self.to

    def write(self, answer: Any) -> Path:
        """Write arrays or a cloud."""
        if self.to == "npz":
            return super().write(answer)
        from dynapoint.exports.answer_files import write_fused_cloud  # noqa: PLC0415

        return write_fused_cloud(answer, self.output, overwrite=self.overwrite)

    def ask(self, rec: "Reconstruction") -> tuple[Any, str]:
        """The cloud."""
        cloud = (
            rec.background(max_points=self.max_points)
            if self.static
            else rec.fuse(time=self.time, max_points=self.max_points)
        )
        return cloud, f"{len(cloud.points)} points of {rec.frame_count} frames"
