"""`dynapoint reconstruct` of lists of clips, of files that lie elsewhere, and on clusters."""

import sys
from collections.abc import Sequence
from contextlib import redirect_stdout
from typing import TYPE_CHECKING, Any

from dynapoint.cli.common import FAILED, print_json
from dynapoint.progress import complain, say

if TYPE_CHECKING:
    from dynapoint.cluster.on_ray import ClusterOptions
    from dynapoint.cluster.result import ClipResult
    from dynapoint.inference.making import SceneOptions

# Failures are all told again at the end of so few; of more, the index has the rest.
_MOST_TOLD = 1000


def are_many(inputs: Sequence[str], output: str) -> bool:
    """Whether inputs are a list, a folder of videos or elsewhere, or scenes go elsewhere."""
    from dynapoint.cluster import places  # noqa: PLC0415
    from dynapoint.cluster.clip_list import is_folder_of_clips, is_list  # noqa: PLC0415

    return places.is_address(output) or any(
        places.is_address(each) or is_list(each) or is_folder_of_clips(each) for each in inputs
    )


def run_many(
    inputs: Sequence[str],
    output: str,
    options: "SceneOptions",
    cluster: "ClusterOptions | None",
    *,
    as_json: bool,
    as_lines: bool,
) -> int:
    """Make a scene of every clip in OUT/NAME.4d; returns the exit code.

    Raises:
        DynapointError: Nothing can be begun.
    """
    from dynapoint.cluster.clip_list import clips_of  # noqa: PLC0415
    from dynapoint.cluster.many import Job  # noqa: PLC0415

    job = Job(clips=clips_of(list(inputs)), output=output, options=options, cluster=cluster)
    scenes: list[dict[str, Any]] = []
    failures: list[dict[str, Any]] = []
    skipped = 0
    results = job.run(progress=True)
    ours = sys.stdout
    try:
        # Ray has a thread that prints what it thinks of workers that died, which is no JSON.
        with redirect_stdout(sys.stderr):
            for result in results:
                told = _plain(result)
                (scenes if result.failure is None else failures).append(told)
                skipped += result.skipped
                if result.failure is not None:
                    complain(f"dynapoint: {result.label}: {result.failure}")
                with redirect_stdout(ours):
                    if as_lines:
                        print_json(told, one_line=True)
                    elif not as_json and result.failure is None and not result.skipped:
                        say(_line(result))
    except KeyboardInterrupt:
        complain(
            f"dynapoint: interrupted; {len(scenes)} scenes are saved, and the same command goes on "
            "from there"
        )
        raise
    finally:
        # Ends workers and writes the index.
        results.close()
    if as_json:
        print_json(
            {"model": options.model, "index": job.index, "scenes": scenes, "failed": failures}
        )
    elif not as_lines:
        _say_all(len(scenes), skipped, failures, job.index)
    return FAILED if failures else 0


def _say_all(saved: int, skipped: int, failures: list[dict[str, Any]], index: str) -> None:
    there = f" ({skipped} were there already)" if skipped else ""
    print(f"{saved} of {saved + len(failures)} scenes are saved{there}; the index is {index}")
    if failures:
        print(f"{len(failures)} failed:")
    for each in failures[:_MOST_TOLD]:
        print(f"  {each['input']}: {each['error']}")
    if len(failures) > _MOST_TOLD:
        print(f"  and {len(failures) - _MOST_TOLD} more, which the index has")


def _line(result: "ClipResult") -> str:
    """A scene that was made, in a line."""
    spent = "" if result.seconds is None else f" in {result.seconds:.1f} s"
    said = [f"{result.frames} frames{spent}", *([result.trust] if result.trust else [])]
    return f"{result.label}: {', '.join(said)}; {result.path}"


def _plain(result: "ClipResult") -> dict[str, Any]:
    """A result as JSON has it, with the names that it has for single clips."""
    told: dict[str, Any] = {"input": result.label, "scene": result.path, "tags": result.tags}
    if result.failure is not None:
        return {**told, "error": result.failure, "attempts": result.attempts}
    return {
        **told,
        "skipped": result.skipped,
        "frames": result.frames,
        "seconds": {"in all": result.seconds},
        "self_check": {"grade": result.grade, "cameras_grade": result.cameras_grade},
        "notes": list(result.notes),
        "attempts": result.attempts,
    }
