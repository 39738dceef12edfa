"""The tasks of a protocol as a file, for methods in other environments and languages."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from dynapoint.evaluation.harness.plan import Plan
from dynapoint.evaluation.predictions.files import prediction_file
from dynapoint.evaluation.protocols.task import Task
from dynapoint.whole_file import whole_file


def write_tasks(plan: Plan, path: Path) -> None:
    """Write all tasks: the fields of `Task`, its digest, and the file that its answer belongs in.

    Raises:
        OutputError: The file cannot be written.
    """
    told = {
        "protocol": plan.protocol.key,
        "tasks": [_plain(task, image_hw=truth.image_hw) for _, truth, task in plan.questions()],
    }
    with whole_file(path) as partial:
        partial.write_text(json.dumps(told, ensure_ascii=False) + "\n", encoding="utf-8")


def _plain(task: Task, *, image_hw: tuple[int, int]) -> dict[str, Any]:
    return {
        "file": prediction_file(Path(), task).as_posix(),
        "digest": task.digest,
        "image_hw": [int(side) for side in image_hw],
        **asdict(task),
    }
