"""Commands for stored scenes: what they share, and `dynapoint info`."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from dynapoint.cli.common import Flag, optional, print_json
from dynapoint.refinement.findings import Findings

if TYPE_CHECKING:
    from dynapoint.results.reconstruction import Reconstruction

SceneArgument = Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SCENE")]


@dataclass(frozen=True, kw_only=True)
class SceneCommand:
    """A command for a stored scene that may ask its network."""

    scene: SceneArgument
    """Folder that `dynapoint reconstruct` wrote."""
    weights: Annotated[Path | None, optional("FILE")] = None
    """The network's weights file, if the scene does not hold it and its name does not find it."""
    device: Annotated[str | None, optional("DEVICE")] = None
    """Where to compute, e.g. cpu or cuda. The default is a GPU if there is one."""

    def open(self, *, progress: bool = False) -> "Reconstruction":
        """The scene; raises SceneError where it cannot be opened."""
        from dynapoint.inference.opening import open_scene  # noqa: PLC0415

        return open_scene(self.scene, weights=self.weights, device=self.device, progress=progress)


@dataclass(frozen=True, kw_only=True)
class Info:
    """Describe a saved scene: its source, contents, self-check, and what it can answer."""

    scene: SceneArgument
    """Folder that `dynapoint reconstruct` wrote."""
    json: Flag = False
    """Print JSON instead of lines."""

    def run(self) -> int:
        """Print the summary."""
        facts = _facts(self.scene)
        if self.json:
            print_json(facts)
        else:
            print("\n".join(_lines(facts)))
        return 0


def _facts(scene: Path) -> dict[str, Any]:
    """All that `info` says, as JSON would have it."""
    from dynapoint.inference.opening import StoredDecoder, open_scene  # noqa: PLC0415
    from dynapoint.results.checks import read_check  # noqa: PLC0415
    from dynapoint.results.on_disk.manifest import read_manifest  # noqa: PLC0415
    from dynapoint.results.summary import segment_lines, summarize  # noqa: PLC0415

    rec = open_scene(scene)
    summary = summarize(rec)
    manifest = read_manifest(scene)
    assert isinstance(rec.decoder, StoredDecoder)
    possible, why = rec.decoder.further_questions()
    return {
        "scene": str(scene),
        **asdict(summary),
        "size": rec.frames.size_words,
        "segment_lines": segment_lines(rec),
        "joining": None if rec.joining is None else rec.joining.to_plain(),
        "joining_lines": [] if rec.joining is None else rec.joining.lines(),
        "lens": summary.lens_words,
        "camera": summary.camera_words,
        "package_version": manifest.package_version,
        "weights_sha256": manifest.weights_sha256,
        "settings": manifest.settings,
        "refinement": manifest.refinement,
        "network": None if manifest.network is None else asdict(manifest.network),
        "bytes": _sizes(scene),
        "self_check": read_check(scene),
        "further_questions": {"possible": possible, "why": why},
    }


def _sizes(scene: Path) -> dict[str, int]:
    """Bytes of what a scene holds, by kind and in all."""
    kinds: dict[str, int] = {}
    for path in sorted(scene.rglob("*")):
        if path.is_file():
            kind = _kind(path.relative_to(scene))
            kinds[kind] = kinds.get(kind, 0) + path.stat().st_size
    return {**kinds, "in all": sum(kinds.values())}


def _kind(path: Path) -> str:
    if len(path.parts) > 1:
        return path.parts[0]
    if path.suffix == ".npy":
        return "tracks of frame 0" if path.name.startswith("track_") else "cameras and maps"
    return path.name


def _refinement_words(found: dict[str, Any]) -> str:
    """What refinement changed and what it rests on."""
    told = Findings.from_plain(found)
    before = "with its depth" if told.known_poses else "by the network"
    return (
        f"{', '.join(told.changed) or 'nothing'} (start: {found['start']}); matches explained "
        f"{found['explained']:.2f} ({before} {found['explained_before']:.2f}), coverage "
        f"{found['coverage']:.2f}, parallax {found['parallax']:.2f}, lens known to "
        f"{100 * found['lens_sigma']:.0f} %, still {found['still']:.2f}, moving "
        f"{found['moving']:.2f}"
    )


def _lines(facts: dict[str, Any]) -> list[str]:
    """The facts for people."""
    height, width = facts["map_hw"]
    weights = (facts["weights_sha256"] or "unknown")[:12]
    found = facts["refinement"]
    settings = ", ".join(f"{name} {value}" for name, value in facts["settings"].items())
    sizes = ", ".join(f"{kind} {count / 1e6:.1f} MB" for kind, count in facts["bytes"].items())
    lines = {
        "scene": f"{facts['scene']} ({facts['name']})",
        "frames": f"{facts['frames']} of {facts['size']}"
        + ("" if facts["duration_s"] is None else f", {facts['duration_s']:.2f} s"),
        "maps": f"{width}x{height}, median depth {facts['typical_depth']:.3g} "
        f"{facts['settings'].get('units', 'scene units, not metric')}",
        "scale": facts["scale_words"],
        "camera": f"{facts['lens']}; {facts['camera']}",
        "model": f"{facts['model']} (weights {weights}), dynapoint {facts['package_version']}",
        "settings": settings,
        "note": facts["note"],
        "refined": None if found is None else _refinement_words(found),
        "stored": sizes,
        "further questions": facts["further_questions"]["why"],
    }
    check = facts["self_check"] or {"lines": []}
    said = [f"{name}: {value}" for name, value in lines.items() if value]
    # Next to the frames, whose parts they are.
    said[2:2] = [f"segment {line}" for line in facts["segment_lines"]] + [
        f"windows: {line}" for line in facts["joining_lines"]
    ]
    # The self-check has these, too.
    rest = [line for line in check["lines"] if line not in facts["joining_lines"]]
    return said + [f"self-check: {line}" for line in rest]
