"""The command line: scenes written, one line per error, exit codes, nothing left behind."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint import cli
from dynapoint.errors import InputError, ModelError
from dynapoint.inference.scenes import plan_scenes
from dynapoint.models import catalog
from dynapoint.models.protocol import PLAIN, ModelInfo
from dynapoint.results.on_disk import store
from fake_model import FakeModel, picture_array
from video_files import write_video


@pytest.fixture
def loads(monkeypatch) -> list[str]:
    """Replace the networks by a stand-in named `nano`; returns the names that were loaded."""
    loaded: list[str] = []

    def load_model(
        name: str = "nano", *, weights: Path | None = None, **options: object
    ) -> FakeModel:
        if name != "nano":
            raise ModelError(f"unknown model {name!r}; known models are nano")
        if weights is not None:
            raise ModelError(f"{weights} is not a readable weights file; fetch it again")
        loaded.append(name)
        return FakeModel(32)

    monkeypatch.setattr(catalog, "load_model", load_model)
    # Commands show progress after three seconds, which the first import of these may take alone.
    for slow in ("torch", "cv2", "dynapoint.inference.pipeline"):
        importlib.import_module(slow)
    return loaded


def save_images(folder: Path, count: int = 3) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = [folder / f"{index}.png" for index in range(count)]
    for path, picture in zip(paths, picture_array(count, 24, 32), strict=True):
        Image.fromarray(picture).save(path)
    return paths


def run(*arguments: object) -> int:
    return cli.main([str(argument) for argument in arguments])


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_a_video_becomes_a_scene(tmp_path, loads, capsys):
    video = write_video(tmp_path / "walk.mp4", frames=30)
    assert run("reconstruct", video, "-o", tmp_path / "out.any", "--frames", 5) == 0
    printed = capsys.readouterr()
    assert "5 of 30 frames used" in printed.out and printed.err == ""
    for stage in ("read", "load model", "network", "contact sheet", "write"):
        assert f"{stage} " in printed.out
    assert str(tmp_path / "out.any" / "contact_sheet.png") in printed.out
    assert (tmp_path / "out.any" / "contact_sheet.png").is_file()
    scene = dynapoint.open(tmp_path / "out.any")
    assert scene.frames.name == "walk" and scene.model_name == "nano"
    assert scene.frame_count == 5
    assert listing(tmp_path)[0] == "out.any"


def test_a_folder_images_and_a_pattern_are_one_scene_each(tmp_path, loads):
    paths = save_images(tmp_path / "pictures")
    assert run("reconstruct", tmp_path / "pictures", "-o", tmp_path / "a") == 0
    assert run("reconstruct", *paths, "-o", tmp_path / "b") == 0
    assert run("reconstruct", tmp_path / "pictures" / "*.png", "-o", tmp_path / "c") == 0
    scenes = [dynapoint.open(tmp_path / name) for name in "abc"]
    assert all(scene.frame_count == 3 for scene in scenes)
    assert np.array_equal(scenes[0].images, scenes[1].images)
    assert np.array_equal(scenes[0].images, scenes[2].images)


def test_several_videos_and_folders_are_a_scene_each_with_one_model(tmp_path, loads):
    save_images(tmp_path / "walk")
    videos = [
        write_video(tmp_path / name, frames=4) for name in ("walk.mp4", "run.mp4", "walk.mkv")
    ]
    assert run("reconstruct", tmp_path / "walk", *videos, "-o", tmp_path / "out") == 0
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == ["run.4d", "walk-2.4d", "walk-3.4d", "walk.4d"]
    assert loads == ["nano"]
    # The folder that holds the scenes is no scene, and may be used again.
    other = write_video(tmp_path / "jump.mp4", frames=4)
    more = write_video(tmp_path / "sit.mp4", frames=4)
    assert run("reconstruct", other, more, "-o", tmp_path / "out") == 0


def test_every_time_is_decoded_once(tmp_path, monkeypatch):
    model = FakeModel(32)
    monkeypatch.setattr(catalog, "load_model", lambda *_, **__: model)
    video = write_video(tmp_path / "walk.mp4", frames=6)
    assert run("reconstruct", video, "-o", tmp_path / "out") == 0
    # Those of frame 0 once, for its tracks; others at time 0 for the self-check.
    tracks, checked = model.decoded[:5], model.decoded[5:]
    assert tracks == [(0, time) for time in range(1, 6)]
    assert checked == [(frame, 0) for frame in range(1, 6)]
    tracks = dynapoint.reconstruct(video, FakeModel(32)).tracks()
    stored = dynapoint.open(tmp_path / "out").tracks()
    for name in ("points", "visible", "confidence"):
        assert np.array_equal(getattr(stored, name), getattr(tracks, name))


def test_preparation_and_reference_reach_the_network(tmp_path, monkeypatch):
    references = []

    class WithReference(FakeModel):
        info = ModelInfo(name="chooser", takes_reference=True)

        def encode(self, images, request=PLAIN):
            references.append((request.reference, tuple(images.shape[-2:])))
            return super().encode(images)

    monkeypatch.setattr(catalog, "load_model", lambda *_, **__: WithReference(32))
    for index, size in enumerate([(30, 60), (40, 30)]):
        Image.fromarray(picture_array(1, *size)[0]).save(tmp_path / f"{index}.png")
    # Of nano it is known that it takes none.
    (tmp_path / "vdpm.pt").write_bytes(b"a stand-in")
    options = ("--prepare", "published", "--reference", 1)
    options = (*options, "--model", "vdpm", "--weights", tmp_path / "vdpm.pt")
    assert run("reconstruct", *tmp_path.glob("*.png"), "-o", tmp_path / "out", *options) == 0
    # 32 pixels wide both, 16 and 40 high: one is padded, the other cropped.
    assert references == [(1, (32, 32))]
    assert dynapoint.open(tmp_path / "out").map_hw == (32, 32)


def test_one_scene_that_fails_does_not_stop_the_others(tmp_path, loads, capsys):
    good = write_video(tmp_path / "good.mp4", frames=4)
    (tmp_path / "bad.mp4").write_bytes(b"no video at all" * 99)
    assert run("reconstruct", tmp_path / "bad.mp4", good, "-o", tmp_path / "out") == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1 and "bad.mp4" in printed.err
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.4d"]


def test_failures_of_one_name_are_all_listed(tmp_path, loads, capsys):
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "walk.mp4").write_bytes(b"no video at all" * 99)
    assert run("reconstruct", *tmp_path.glob("?/walk.mp4"), "-o", tmp_path / "out") == 1
    said = capsys.readouterr().out
    assert "0 of 2 scenes" in said and said.count("walk.mp4: ") == 2


@pytest.mark.parametrize("error", [MemoryError("5 GB"), RuntimeError("can't allocate memory")])
def test_a_lack_of_memory_is_one_line(tmp_path, capsys, monkeypatch, error):
    def fails(_):
        raise error

    monkeypatch.setattr(cli.Info, "run", fails)
    assert run("info", tmp_path) == 1
    said = capsys.readouterr().err
    assert len(said.splitlines()) == 1 and "memory does not suffice" in said


def test_overwrite(tmp_path, loads, capsys):
    video = write_video(tmp_path / "walk.mp4", frames=4)
    arguments = ("reconstruct", video, "-o", tmp_path / "out")
    assert run(*arguments) == 0
    assert run(*arguments) == 1
    assert "--overwrite" in capsys.readouterr().err
    assert loads == ["nano"], "an output that is taken is found before the network is loaded"
    assert run(*arguments, "--overwrite") == 0


def error_cases(folder: Path) -> dict[str, tuple[list[object], str]]:
    """For each kind of failure the arguments and a word of the message."""
    video = write_video(folder / "fine.mp4", frames=4)
    paths = save_images(folder / "pictures")
    (folder / "hollow").mkdir()
    (folder / "thesis").mkdir()
    (folder / "thesis" / "text.txt").write_text("precious")
    (folder / "file").write_text("x")
    (folder / "empty.mp4").touch()
    (folder / "random.mp4").write_bytes(np.random.default_rng(0).bytes(9999))
    (folder / "random.jpg").write_bytes(np.random.default_rng(0).bytes(9999))
    (folder / "weights").write_bytes(b"junk")
    out = ["-o", folder / "out" / "scene"]
    return {
        "missing": ([folder / "none.mp4", *out], "does not exist"),
        "no match": ([folder / "none*.jpg", *out], "no file matches"),
        "empty": ([folder / "empty.mp4", *out], "empty"),
        "random": ([folder / "random.mp4", *out], "random.mp4"),
        "random image": ([folder / "random.jpg", *out], "cannot be read"),
        "empty folder": ([folder / "hollow", *out], "holds no image"),
        "mixed": ([video, *paths, *out], "separate calls"),
        "one of several missing": ([video, folder / "none.mp4", *out], "does not exist"),
        "unknown model": ([video, *out, "--model", "giant"], "unknown model"),
        "no choice": ([video, *out, "--reference", "1"], "no choice of the reference"),
        "no such frame": (
            [video, *out, "--reference", "4", "--model", "vdpm", "--weights", folder / "file"],
            "the 4 frames used are 0 to 3",
        ),
        "bad weights": ([video, *out, "--weights", folder / "weights"], "weights"),
        "output is a file": ([video, "-o", folder / "file"], "exists and is a file"),
        "output is a folder": ([video, "-o", folder / "thesis"], "not a scene"),
        "even with overwrite": ([video, "-o", folder / "thesis", "--overwrite"], "not a scene"),
        "output below a file": ([video, "-o", folder / "file" / "x"], "cannot be written"),
    }


CASES = (
    "missing",
    "no match",
    "empty",
    "random",
    "random image",
    "empty folder",
    "mixed",
    "one of several missing",
    "unknown model",
    "no choice",
    "no such frame",
    "bad weights",
    "output is a file",
    "output is a folder",
    "even with overwrite",
    "output below a file",
)


@pytest.mark.parametrize("case", CASES)
def test_expected_errors_are_one_line_and_leave_nothing(tmp_path, loads, capsys, case):
    arguments, word = error_cases(tmp_path)[case]
    before = listing(tmp_path)
    assert run("reconstruct", *arguments) == 1
    printed = capsys.readouterr()
    assert len(printed.err.splitlines()) == 1 and printed.err.startswith("dynapoint: ")
    assert word in printed.err
    assert printed.out == ""
    assert listing(tmp_path) == before


WRONG_USAGE = [
    [],
    ["nonsense"],
    ["reconstruct"],
    ["reconstruct", "a.mp4"],
    ["reconstruct", "-o", "out"],
    ["reconstruct", "a.mp4", "-o", "out", "--frames", "many"],
    ["reconstruct", "a.mp4", "-o", "out", "--frames", "0"],
    ["reconstruct", "a.mp4", "-o", "out", "--unknown"],
    ["reconstruct", "a.mp4", "-o", "out", "--prepare", "square"],
    ["reconstruct", "a.mp4", "-o", "out", "--reference", "middle"],
    ["synth", "-o", "out"],
    ["synth", "-o", "out", "--clips", "0", "--seed", "1"],
    ["synth", "-o", "out", "--clips", "1", "--seed", "1", "--difficulty", "3"],
    ["train"],
    ["train", "smoke", "-o", "out", "--resume", "--start-from", "w.pt"],
    ["train", "smoke", "-o", "out", "--learning-rate", "0"],
    ["train", "smoke", "-o", "out", "--optimiser", "sgd"],
    ["evaluate"],
    ["tracks", "scene.4d", "-o", "out", "--xy", "3", "4", "--every", "2"],
    ["tracks", "scene.4d", "-o", "out", "--xy", "3"],
    ["fuse", "scene.4d", "-o", "out", "--static", "--time", "0"],
    ["flow", "scene.4d", "-o", "out", "--to", "1"],
    ["match", "scene.4d", "-o", "out", "--to-time", "1"],
]


@pytest.mark.parametrize("arguments", WRONG_USAGE, ids=" ".join)
def test_wrong_usage_exits_2(arguments, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    try:
        code = cli.main(arguments)
    except SystemExit as stop:
        code = stop.code
    assert code == 2
    assert listing(tmp_path) == []


def test_interruption_exits_130_and_leaves_nothing(tmp_path, loads, capsys, monkeypatch):
    video = write_video(tmp_path / "walk.mp4", frames=4)

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(store.np, "save", interrupted)
    before = listing(tmp_path)
    assert run("reconstruct", video, "-o", tmp_path / "deep" / "out") == 130
    assert listing(tmp_path) == before
    assert "Traceback" not in capsys.readouterr().err


def test_a_video_that_breaks_off_says_so(tmp_path, loads, capsys):
    options = {"movflags": "faststart"}
    video = write_video(tmp_path / "cut.mp4", frames=40, size_wh=(160, 128), options=options)
    video.write_bytes(video.read_bytes()[: int(video.stat().st_size * 0.6)])
    assert run("reconstruct", video, "-o", tmp_path / "out") == 0
    assert "breaks off" in capsys.readouterr().out
    assert "breaks off" in dynapoint.open(tmp_path / "out").frames.note


OTHER_COMMANDS = (
    ("dynapoint.synthetic.clip_files", "synthesize"),
    ("dynapoint.training.run", "train"),
    ("dynapoint.evaluation.score", "evaluate_paths"),
)


def test_other_commands_pass_their_options_on(tmp_path, monkeypatch, capsys):
    calls: list[tuple] = []

    def recorder(*args, **options):
        calls.append((args, options))
        if "clips" in options:
            return [Path("o") / f"clip_{number}" for number in range(options["clips"])]
        return "the answer" if "resume" in options else {}

    for module, function in OTHER_COMMANDS:
        monkeypatch.setitem(sys.modules, module, SimpleNamespace(**{function: recorder}))
    assert run("synth", "-o", "o", "--clips", 3, "--seed", 7, "--height", 64, "--width", 80) == 0
    assert run("train", "smoke", "-o", "d", "--steps", 5, "--start-from", "w.pt") == 0
    words = ("--model", "nano", "vdpm", "--weights", "a.safetensors", "b.pt", "-o", "scores.json")
    assert run("evaluate", "clips", *words) == 0
    synth = dict(clips=3, seed=7, image_hw=(64, 80), frames=10, difficulty=1.0)
    assert calls[0] == ((Path("o"),), synth)
    train = dict(recipe="smoke", output=Path("d"), changes={"steps": 5}, start_from=Path("w.pt"))
    train |= dict(resume=False, data={}, bench=None, real=(), device=None, max_seconds=None)
    train |= dict(shard=False, textures=None)
    assert calls[1] == ((), train)
    assert calls[2][0][:3] == (Path("clips"), ("nano", "vdpm"), Path("scores.json"))
    weights = (Path("a.safetensors"), Path("b.pt"))
    assert calls[2][1] == dict(weights=weights, progress=True)
    lines = capsys.readouterr().out.splitlines()
    assert lines[:2] == ["3 clips in o", "weights in the answer; use them with --weights"]


def test_other_commands_exist_and_take_these_options():
    synthesize, train, evaluate_paths = (
        inspect.signature(getattr(pytest.importorskip(module), function))
        for module, function in OTHER_COMMANDS
    )
    synthesize.bind(Path("o"), clips=3, seed=7, image_hw=(64, 80), frames=10, difficulty=1.0)
    train.bind("smoke", Path("d"), changes={"steps": 5}, resume=False, start_from=Path("w.pt"))
    evaluate_paths.bind(
        Path("clips"), ("nano",), Path("scores.json"), weights=(Path("w"),), progress=True
    )


def test_version(capsys):
    assert run("--version") == 0
    assert capsys.readouterr().out.strip() == f"dynapoint {dynapoint.__version__}"


def test_scene_plans(tmp_path):
    images = save_images(tmp_path / "pictures")
    video = write_video(tmp_path / "walk.mp4", frames=2)
    out = tmp_path / "out"
    assert [plan.output for plan in plan_scenes([str(video)], out)] == [out]
    assert plan_scenes([str(path) for path in images], out)[0].source == tuple(images)
    several = plan_scenes([str(video), str(tmp_path / "pictures")], out)
    assert [plan.output.name for plan in several] == ["walk.4d", "pictures.4d"]
    with pytest.raises(InputError):
        plan_scenes([str(video), str(images[0])], out)


def test_names_and_labels_tell_scenes_apart(tmp_path):
    for name in ("a/images", "b/images", "c/walk"):
        save_images(tmp_path / name, count=1)
    videos = [tmp_path / name for name in ("a/walk.mp4", "b/walk.mp4", "a/run.mp4", "a/run.mkv")]
    for video in videos:
        video.touch()

    def planned(*names):
        plans = plan_scenes([str(tmp_path / name) for name in names], tmp_path)
        return [(plan.output.name, plan.label) for plan in plans]

    assert planned("a/images", "b/images") == [("a.4d", "a/images"), ("b.4d", "b/images")]
    assert planned("a/walk.mp4", "b/walk.mp4") == [("a.4d", "a/walk.mp4"), ("b.4d", "b/walk.mp4")]
    # One name among others says something.
    three = planned("a/walk.mp4", "b/walk.mp4", "a/run.mp4")
    assert [name for name, _ in three] == ["a-walk.4d", "b-walk.4d", "run.4d"]
    assert [label for _, label in three] == ["a/walk.mp4", "b/walk.mp4", "run.mp4"]
    # What lies in one folder is told apart by numbers.
    assert [name for name, _ in planned("a/run.mp4", "a/run.mkv")] == ["run.4d", "run-2.4d"]
    assert planned("c/walk", "a/walk.mp4")[0] == ("c.4d", "walk")


def shell(*arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "dynapoint", *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_exit_codes_of_the_process(tmp_path):
    assert shell("--help").returncode == 0
    assert shell("reconstruct").returncode == 2
    (tmp_path / "random.mp4").write_bytes(np.random.default_rng(0).bytes(9999))
    failed = shell("reconstruct", tmp_path / "random.mp4", "-o", tmp_path / "out")
    assert failed.returncode == 1
    # FFmpeg's own chatter must not reach the user either.
    assert len(failed.stderr.splitlines()) == 1 and failed.stdout == ""
    assert listing(tmp_path) == ["random.mp4"]


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    command = [sys.executable, "-m", "dynapoint", "models"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout is not None and process.stderr is not None
        process.stdout.close()
        said = process.stderr.read()
    assert said == b"" and process.returncode == 1
