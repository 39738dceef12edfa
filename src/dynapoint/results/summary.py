"""What a scene is, in a few numbers: for `dynapoint info` and the heading of contact sheets."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from dynapoint.geometry.arrays import rotation_angle_rad, typical_depth
from dynapoint.results.scene_maps import SceneMaps
from dynapoint.results.subscene import worlds
from dynapoint.windows.spans import Segment

# Why a segment begins, for people.
_BEGINS = {
    "start": "",
    "cut": ", begins with a cut",
    "black": ", begins where black begins or ends",
    "frozen": ", begins where the picture stops or goes on",
}


@dataclass(frozen=True, kw_only=True)
class SceneSummary:
    """A scene in a few numbers.

    Attributes:
        focal_px: (x, y) of frame 0, in original pixels.
        view_deg: Field of view of frame 0, (across, down); undistorted where the lens distorts.
        lens_model: "pinhole", or the model of frame 0's distortion.
        typical_depth: Median depth of frame 0 along the axis, in scene units; 1 if nothing lies
            before the camera.
        camera_path: Length of the camera's path in scene units, every step of it added up.
        largest_displacement: The largest distance of a camera from that of frame 0.
        largest_turn_deg: The largest angle between a camera and that of frame 0.
        duration_s: From the first to the last time of a frame used; None where none is known.
        scale_words: What made lengths metres, for people; None where they are not.
        segments: The worlds of a long clip; `()` where there is one. Paths and turns are then those
            within each, the longest path and all steps.
    """

    name: str
    model: str
    frames: int
    image_hw: tuple[int, int]
    map_hw: tuple[int, int]
    duration_s: float | None
    focal_px: tuple[float, float]
    view_deg: tuple[float, float]
    lens_model: str
    typical_depth: float
    camera_path: float
    largest_displacement: float
    largest_turn_deg: float
    note: str | None
    scale_words: str | None = None
    segments: tuple[Segment, ...] = ()

    @property
    def segment_words(self) -> str | None:
        """How many worlds there are and what of, for people; None where there is one."""
        return segment_words(self.segments)

    @property
    def lens_words(self) -> str:
        """The focal length and field of view, for people."""
        words = (
            f"focal {self.focal_px[0]:.0f} px (view {self.view_deg[0]:.0f}x{self.view_deg[1]:.0f} "
            "deg)"
        )
        return words if self.lens_model == "pinhole" else f"{words}, {self.lens_model} undistorted"

    @property
    def camera_words(self) -> str:
        """How the camera moved, for people: how far from where it began comes first."""
        if self.frames == 1:
            return "one camera"
        share = 100 * self.largest_displacement / self.typical_depth
        return (
            f"camera path up to {self.largest_displacement:.2g} from its start ({share:.0f} % of "
            f"depth), {self.camera_path:.2g} summed, turned up to {self.largest_turn_deg:.1f} deg"
        )


def scale_words(settings: Mapping[str, str | int]) -> str | None:
    """What made lengths metres and how sure that is, for people; None where they are not.

    Args:
        settings: Of a scene.
    """
    if settings.get("units") != "metres":
        return None
    words = f"metres by {settings.get('scale_from', 'unknown means')}"
    if "metres_per_unit" in settings:
        words += f", 1 unit of the network's was {_rounded(settings['metres_per_unit'], '')} m"
    if "metres_per_unit_spread" not in settings:
        return words
    return (
        f"{words}; by depth of {settings['scale_network']} in {settings['scale_frames']} frames, "
        f"which spread by {_rounded(settings['metres_per_unit_spread'], '%')}"
    )


def _rounded(values: str | int, unit: str) -> str:
    """Numbers behind commas, to three digits, or in percent."""
    said = [
        word if word == "unknown" else f"{float(word):.1%}" if unit else f"{float(word):.3g}"
        for word in str(values).split(", ")
    ]
    return ", ".join(said)


def segment_words(segments: tuple[Segment, ...]) -> str | None:
    """How many worlds there are and what of, for people; None where there is one."""
    if len(segments) < 2:
        return None
    kinds = [part.kind for part in segments]
    scenes = kinds.count("scene")
    said = [f"{scenes} scene{'s' * (scenes != 1)}"]
    said += [f"{kinds.count(kind)} {kind}" for kind in ("black", "frozen") if kind in kinds]
    return f"{len(kinds)} segments, each a world of its own: {', '.join(said)}"


def summarize(scene: SceneMaps) -> SceneSummary:
    """Sum a scene up; asks the network for nothing."""
    height, width = scene.frames.picture_hw[0].tolist()
    focal_x, focal_y = float(scene.intrinsics[0, 0, 0]), float(scene.intrinsics[0, 1, 1])
    across, down = (
        float(2 * np.degrees(np.arctan(side / 2 / focal)))
        for side, focal in ((width, focal_x), (height, focal_y))
    )
    times_s = scene.timestamps_s[np.isfinite(scene.timestamps_s)]
    # The first camera of each frame's world, and steps that do not lead from one into the next.
    first = np.concatenate([np.full(part.count, part.start) for part in worlds(scene)])
    positions, rotations = scene.world_from_camera[:, :3, 3], scene.world_from_camera[:, :3, :3]
    steps = np.diff(positions, axis=0)[np.diff(first) == 0]
    turns = np.degrees(rotation_angle_rad(rotations[first], rotations))
    return SceneSummary(
        name=scene.frames.name,
        model=scene.model_name,
        frames=scene.frame_count,
        image_hw=scene.frames.image_hw,
        map_hw=scene.map_hw,
        duration_s=float(np.ptp(times_s)) if len(times_s) else None,
        focal_px=(focal_x, focal_y),
        view_deg=(across, down),
        lens_model="pinhole" if scene.distortion is None else scene.distortion[0].model,
        typical_depth=typical_depth(scene.depth_of(0)),
        camera_path=float(np.linalg.norm(steps, axis=1).sum()),
        largest_displacement=float(np.linalg.norm(positions - positions[first], axis=1).max()),
        largest_turn_deg=float(turns.max()),
        note=scene.frames.note,
        scale_words=scale_words(scene.settings),
        segments=scene.segments,
    )


def segment_lines(scene: SceneMaps) -> list[str]:
    """A line for each segment of a long clip; none where there is one world."""
    lines = []
    for number, part in enumerate(scene.segments):
        stamps_s = scene.timestamps_s[part.start : part.stop]
        known_s = stamps_s[np.isfinite(stamps_s)]
        when = f" ({known_s.min():.2f} to {known_s.max():.2f} s)" if known_s.size else ""
        lines.append(
            f"{number}: frames {part.start} to {part.stop - 1}{when}, "
            f"{'scene' if part.kind == 'scene' else f'{part.kind}, nothing to show'}"
            f"{_BEGINS[part.begins_with]}"
        )
    return lines
