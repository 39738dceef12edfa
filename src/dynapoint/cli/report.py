"""What `dynapoint reconstruct` says of its scenes: lines for people, or one JSON object."""

from typing import TYPE_CHECKING, Any

from dynapoint.cli.common import print_json, said_of_files
from dynapoint.errors import DynapointError
from dynapoint.progress import say

if TYPE_CHECKING:
    from dynapoint.data.frames import Frames
    from dynapoint.inference.scenes import ScenePlan

_NANO = (
    "nano is a small network: use it to see what moves, where to, and how the camera moves, not to "
    "measure. For accuracy, run `dynapoint models get vdpm` ({gigabytes:.1f} GB, not for "
    "commercial use), then add --model vdpm: {frames} frames would take about {time} and "
    "{memory:.1f} GB of memory here{have}. For any use, commercial too, get da3-small "
    "({small_gigabytes:.1f} GB, Apache-2.0): about {small_time} and {small_memory:.1f} GB"
)


class Report:
    """Says what becomes of every scene as it goes along, or as JSON: at the end, or a line each."""

    def __init__(self, *, as_json: bool, as_lines: bool = False, full: bool = False) -> None:
        self._as_json, self._as_lines, self._full = as_json, as_lines, full
        self._scenes: list[dict[str, Any]] = []
        self._made: list[Frames] = []

    def note(self, scene: "ScenePlan", words: str) -> None:
        """Something that people want to know at once; JSON has it among the facts."""
        if not (self._as_json or self._as_lines):
            say(f"{scene.label}: {words}")

    def skipped(self, scene: "ScenePlan") -> None:
        """A scene that is there already."""
        self.note(scene, f"{scene.output} exists already, skipped; --overwrite replaces it")
        self._add({**_place(scene), "skipped": True, **self._files(scene)})

    def failed(self, label: str, error: DynapointError) -> None:
        """A scene that will not be there; `close` says it again to those who wait for the end."""
        if self._as_lines:
            print_json(_failure(label, error), one_line=True)

    def written(self, scene: "ScenePlan", frames: "Frames", seconds: dict[str, float]) -> None:
        """A scene that is written: what was used, what it took, its self-check, where it is."""
        from dynapoint.results.checks import read_check  # noqa: PLC0415
        from dynapoint.results.on_disk.manifest import read_manifest  # noqa: PLC0415
        from dynapoint.results.on_disk.store import contact_sheet_of  # noqa: PLC0415
        from dynapoint.results.summary import segment_words  # noqa: PLC0415

        self._made.append(frames)
        stages = ", ".join(f"{name} {spent:.1f} s" for name, spent in seconds.items())
        total = sum(seconds.values())
        self.note(
            scene, f"{frames.count} frames of {frames.size_words}; {stages}; {total:.1f} s in all"
        )
        worlds = segment_words(read_manifest(scene.output).segments)
        if worlds is not None:
            self.note(scene, worlds)
        check = read_check(scene.output)
        for line in check["lines"] if check else []:
            self.note(scene, line)
        self.note(scene, f"look at {contact_sheet_of(scene.output)}")
        self.note(scene, f"scene saved in {scene.output}; next: `dynapoint view {scene.output}`")
        if check and not self._full:
            check = {name: check[name] for name in ("grade", "lines")}
        self._add(
            {
                **_place(scene),
                "skipped": False,
                "contact_sheet": str(contact_sheet_of(scene.output)),
                **self._files(scene),
                "frames": frames.count,
                "note": frames.note,
                "seconds": {**seconds, "in all": total} if self._full else {"in all": total},
                "self_check": check,
            }
        )

    def close(
        self, scene_count: int, failures: list[tuple[str, DynapointError]], model: str
    ) -> None:
        """What is left to say when all scenes are done or have failed.

        Failures are pairs and no dict, for two inputs in different folders may have one name.
        """
        from dynapoint.models.cards import find_card  # noqa: PLC0415

        failed = [_failure(label, error) for label, error in failures]
        if self._as_lines:
            return
        if self._as_json:
            print_json({"model": model, "scenes": self._scenes, "failed": failed})
            return
        if failed and scene_count > 1:
            print(f"{scene_count - len(failed)} of {scene_count} scenes are saved; these failed:")
            for each in failed:
                print(f"  {each['input']}: {each['error']}")
        if self._made and find_card(model).name.startswith("nano"):
            advice = _advice(self._made)
            if advice is not None:
                print(advice)

    def _add(self, said: dict[str, Any]) -> None:
        self._scenes.append(said)
        if self._as_lines:
            print_json(said, one_line=True)

    def _files(self, scene: "ScenePlan") -> dict[str, Any]:
        """The files of a scene and their bytes; how many they are suffices for most."""
        said = said_of_files(scene.output)
        return said if self._full else {"files": len(said["files"]), "bytes": said["bytes"]}


def _advice(made: "list[Frames]") -> str | None:
    """To take a larger network, and what that costs here; None where V-DPM's weights are here."""
    from dynapoint.models.cards import DA3_SMALL, VDPM  # noqa: PLC0415
    from dynapoint.models.da3 import cost as small_cost  # noqa: PLC0415
    from dynapoint.models.vggt import cost  # noqa: PLC0415
    from dynapoint.models.weight_files import find_weights  # noqa: PLC0415

    if find_weights(VDPM) is not None:
        return None
    costs = [cost.cost_of_clip(frames.count, frames.image_hw) for frames in made]
    rate = cost.operations_a_second()
    seconds = sum(each.operations for each in costs) / rate
    small = sum(small_cost.operations_of_clip(each.count, each.image_hw) for each in made)
    there = cost.machine_bytes()
    return _NANO.format(
        gigabytes=(VDPM.bytes or 0) / 1e9,
        frames="the same" if len(made) > 1 else f"these {made[0].count}",
        time=cost.duration_words(seconds),
        memory=max(each.memory_bytes for each in costs) / 1e9,
        small_gigabytes=(DA3_SMALL.bytes or 0) / 1e9,
        small_time=cost.duration_words(small / rate),
        small_memory=small_cost.MEMORY_BYTES / 1e9,
        have="" if there is None else f" (it has {there / 1e9:.0f})",
    )


def _failure(label: str, error: DynapointError) -> dict[str, str]:
    return {"input": label, "error": " ".join(str(error).splitlines())}


def _place(scene: "ScenePlan") -> dict[str, Any]:
    return {"input": scene.label, "scene": str(scene.output)}
