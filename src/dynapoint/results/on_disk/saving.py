"""From a reconstruction to a complete folder: one recipe for Python, the command and the page."""

from dataclasses import replace
from pathlib import Path

from dynapoint.progress import SAVING, begin, shown
from dynapoint.results import checks, contact_sheet
from dynapoint.results.on_disk.output_folder import whole_folder
from dynapoint.results.on_disk.store import write_scene, write_tracks
from dynapoint.results.scene_maps import SceneMaps


def save(
    scene: SceneMaps,
    output: Path | str,
    *,
    overwrite: bool = False,
    lean: bool = False,
) -> None:
    """Write a scene as the folder `output`, whatever its name ends in: whole or not at all.

    Args:
        scene: What to write: frames, cameras, own-time maps, the tracks of frame 0, a contact
            sheet, the self-check, and the network and what it keeps of the clip where it was loaded
            by name.
        output: The folder; missing folders above it are made.
        overwrite: Replace a scene that is there already. Anything else is never replaced.
        lean: Write it small (`write_all`).

    Raises:
        OutputError: `output` exists or cannot be written; nothing is left behind.
    """
    name = scene.frames.name
    with (
        whole_folder(Path(output), overwrite=overwrite) as folder,
        shown(scene.progress, name=name, plan=SAVING),
    ):
        write_all(scene, folder, lean=lean)


def write_all(scene: SceneMaps, folder: Path, *, lean: bool = False) -> None:
    """Write all of a scene into a folder that somebody else makes whole.

    Args:
        scene: What to write.
        folder: Where.
        lean: Write what it shows and nothing of the network, in fewer bits: for thousands of clips.
            It then answers for frame 0 at all times and for all frames at their own. Opened, its
            maps lie in memory.

    Raises:
        OSError: `folder` cannot be written to.
    """
    begin("tracks")
    tracks = scene.tracks(keep=False) if lean else write_tracks(scene, folder)
    # Asked of these tracks, not of the network again.
    followed = replace(scene, kept_tracks=tracks)
    begin("contact sheet")
    sheet = contact_sheet.draw(followed, tracks)
    begin("self-check")
    found = checks.check(followed)
    begin("write")
    write_scene(followed, folder, contact_sheet=sheet, self_check=found, lean=lean)
