"""Commands that ask a stored scene: tracks, flow, segment, match, objects and fuse."""

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import tyro

from dynapoint.cli.common import Flag, OutputOption, UsageError, optional, print_json, said_of_files
from dynapoint.cli.scene import SceneCommand
from dynapoint.progress import begin, shown

if TYPE_CHECKING:
    from dynapoint.results.reconstruction import Reconstruction

# An answer, what to say of it, and the numbers in that by their names.
_Asked = tuple[Any, str, dict[str, int | float]]

_Index = Annotated[int, tyro.conf.arg(metavar="INDEX")]


@dataclass(frozen=True, kw_only=True)
class _AnswerCommand(SceneCommand):
    """A question to a stored scene whose answer is a file of arrays."""

    output: OutputOption
    """File to write; a missing suffix is added."""
    overwrite: Flag = False
    """Replace an existing file."""
    json: Flag = False
    """Print the findings and the file in one JSON object."""

    def run(self) -> int:
        """Ask, write, and say in one line what was found."""
        from dynapoint.exports.outputs import check_free  # noqa: PLC0415

        self.check_usage()
        check_free(self.output, f".{self.file_format}", overwrite=self.overwrite)
        with shown(name=self.scene.name):
            begin("open")
            rec = self.open()
            begin(type(self).__name__.lower())
            answer, said, numbers = self.ask(rec)
            begin("write")
            file = self.write(answer)
        if self.json:
            print_json(
                {
                    "scene": str(self.scene),
                    "answer": type(self).__name__.lower(),
                    **numbers,
                    **said_of_files(file),
                }
            )
        else:
            print(f"{said}; in {file}")
        return 0

    def check_usage(self) -> None:
        """Raise UsageError for options that make no sense, before the scene is opened."""

    @property
    def file_format(self) -> str:
        """What is written: arrays, unless the command offers more."""
        return "npz"

    def write(self, answer: Any) -> Path:
        """Write the answer; returns the file."""
        from dynapoint.exports.answer_files import write_arrays  # noqa: PLC0415

        return write_arrays(answer, self.output, overwrite=self.overwrite)

    def ask(self, rec: "Reconstruction") -> _Asked:
        """The answer, what to say of it, and the numbers in that."""
        raise NotImplementedError


@dataclass(frozen=True, kw_only=True)
class Tracks(_AnswerCommand):
    """Track pixels of one frame through the clip, in 3D and in the images, with visibility.

    NPZ: points (time, track, 3) in the world, xy in the original images, visible, confidence,
    and expected_error where the network's confidence is calibrated.
    """

    frame: _Index = 0
    """The frame whose pixels are meant, by its index."""
    every: Annotated[int, tyro.conf.arg(metavar="N")] = 1
    """Track every N-th row and column of the map."""
    xy: Annotated[tuple[tuple[float, float], ...], optional("X Y")] = ()
    """Track these places (pixels of the original image) instead of a grid."""
    to: Literal["npz", "ply"] = "npz"
    """ply: the tracks as lines, where they are visible."""

    def check_usage(self) -> None:
        """Places or a grid."""
        if self.every < 1:
            raise UsageError(f"--every is {self.every}; give 1 or more")
        if self.xy and self.every != 1:
            raise UsageError("--xy are places and --every is a grid; give one of them")

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

    def ask(self, rec: "Reconstruction") -> _Asked:
        """Tracks of the places, or of a grid."""
        tracks = rec.track(frame=self.frame, xy=list(self.xy) or None, every=self.every)
        seen, count = _mean(tracks.visible), tracks.points.shape[1]
        unknown = int((tracks.confidence <= 0).all(axis=0).sum())
        said = f"{count} track{'s' * (count != 1)} at {rec.frame_count} times, {seen:.0%} seen"
        if unknown:
            said += f", {unknown} of places where nothing is known (outside the image, or ignored)"
        numbers = {"tracks": count, "times": rec.frame_count, "unknown": unknown}
        return tracks, said, {**numbers, "seen_share": seen}


@dataclass(frozen=True, kw_only=True)
class Flow(_AnswerCommand):
    """Compute the flow of a frame's pixels to another time: object, scene or optical flow.

    NPZ: flow in scene units (optical: flow_px in original pixels) and valid, for pixels of the map.
    """

    frame: _Index = 0
    """The frame whose pixels are meant, by its index."""
    to_time: _Index = 1
    """The time at which the motion ends, as a frame index."""
    kind: Literal["object", "scene", "optical"] = "object"
    """object: in the world; scene: as seen by the moving camera; optical: in the image."""

    def ask(self, rec: "Reconstruction") -> _Asked:
        """The flow of one pair of times."""
        if self.kind == "optical":
            optical = rec.optical_flow(frame=self.frame, to_time=self.to_time)
            inside = _mean(optical.inside)
            said = f"optical flow, {inside:.0%} stay in the image"
            return optical, said, {"inside_share": inside}
        ask = rec.object_flow if self.kind == "object" else rec.scene_flow
        flow = ask(frame=self.frame, to_time=self.to_time)
        valid = _mean(flow.valid)
        said = f"{self.kind} flow, {valid:.0%} of the pixels valid"
        return flow, said, {"valid_share": valid}


@dataclass(frozen=True, kw_only=True)
class Segment(_AnswerCommand):
    """Segment the pixels of a frame that move during the clip, or until one time.

    NPZ: probability, displacement, expected_error, valid.
    """

    frame: _Index = 0
    """The frame whose pixels are meant, by its index."""
    to_time: Annotated[int | None, optional("INDEX")] = None
    """Compare the frame's own time with this time alone, as a frame index."""

    def ask(self, rec: "Reconstruction") -> _Asked:
        """Probability of motion."""
        found = (
            rec.motion(frame=self.frame)
            if self.to_time is None
            else rec.motion_between(frame=self.frame, to_time=self.to_time)
        )
        moving = _mean(found.probability > 0.5)
        return found, f"{moving:.1%} of the pixels move", {"moving_share": moving}


@dataclass(frozen=True, kw_only=True)
class Match(_AnswerCommand):
    """Match the pixels of a frame to another frame, moving parts included.

    NPZ: xy_px in original pixels of the other frame, distance, mutual, valid, score, for pixels
    of the map.
    """

    frame: _Index = 0
    """The frame whose pixels are meant, by its index."""
    to_frame: _Index = 1
    """The frame in which they are searched for."""

    def ask(self, rec: "Reconstruction") -> _Asked:
        """Matches of all pixels."""
        found = rec.match(frame=self.frame, to_frame=self.to_frame)
        matched = _mean(found.valid & found.mutual)
        return found, f"{matched:.0%} of the pixels matched", {"matched_share": matched}


@dataclass(frozen=True, kw_only=True)
class Objects(_AnswerCommand):
    """Mask moving objects; an object has the same number in all frames.

    NPZ: instance (frame, map_height, map_width), 0 where nothing moves; score and pixels of each.
    """

    def ask(self, rec: "Reconstruction") -> _Asked:
        """Masks in all frames."""
        found = rec.objects()
        count = len(found.pixels)
        return found, f"{count} moving objects", {"objects": count}


@dataclass(frozen=True, kw_only=True)
class Fuse(_AnswerCommand):
    """Fuse all frames into one cloud at one time with motion undone, or fuse the background.

    NPZ: points, colors, confidence, seen (point, frame) and the pixel that each point comes from.
    """

    time: Annotated[int | None, optional("INDEX")] = None
    """The time, as a frame index (default: 0)."""
    static: Flag = False
    """Fuse the background alone, without what moves."""
    max_points: Annotated[int | None, optional("N")] = None
    """At most this many points."""
    to: Literal["npz", "ply"] = "npz"
    """ply: points, colours and confidence for any viewer of clouds."""

    def check_usage(self) -> None:
        """A time, or what stands still at all times."""
        if self.max_points is not None and self.max_points < 1:
            raise UsageError(f"--max-points is {self.max_points}; give 1 or more")
        if self.static and self.time is not None:
            raise UsageError("--static is what stands still at all times; leave out --time")

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

    def ask(self, rec: "Reconstruction") -> _Asked:
        """The cloud."""
        cloud = (
            rec.background(max_points=self.max_points)
            if self.static
            else rec.fuse(time=self.time or 0, max_points=self.max_points)
        )
        count, frames = len(cloud.points), rec.frame_count
        return cloud, f"{count} points of {frames} frames", {"points": count, "frames": frames}


def _mean(values: Any) -> float:
    """The mean of an array; 0 of an empty one."""
    return float(values.mean()) if values.size else 0.0
