"""README, docs and examples: everything that can be run is run, names and links are real.

Each fenced block of a document runs in a folder of its own that holds what the documents speak of:
`walk.mp4`, pictures, masks, times, and `walk.4d`, a scene of it made by the shipped network, which
also runs the README's Python. Other networks and trainings are stood in for by tiny ones.
"""

import ast
import functools
import json
import re
import runpy
import shlex
import shutil
from dataclasses import dataclass, replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

import dynapoint
from dynapoint import cli
from dynapoint.data.frames import load_frames
from dynapoint.evaluation import score
from dynapoint.exports import mp4
from dynapoint.exports.catalog import FORMATS
from dynapoint.inference.pipeline import reconstruct
from dynapoint.models import catalog, weight_files
from dynapoint.models.cards import ASSETS, CARDS, NEWEST, find_card
from dynapoint.models.da3.config import da3_miniature
from dynapoint.models.da3.network import Da3Network
from dynapoint.models.nano.config import tiny
from dynapoint.models.nano.small_networks import build_network
from dynapoint.results import contact_sheet
from dynapoint.results.on_disk import store
from dynapoint.training import run as training_run
from dynapoint.training.changes import changed
from dynapoint.training.recipes import recipe as find_recipe
from dynapoint.whole_file import sha256_of
from fake_model import FakeModel
from folders import ROOT

README = ROOT / "README.md"
DOCUMENTS = [README, ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
SKIPPED = {
    "pip install": "installs; .ci/run installs the wheel in a fresh environment",
    "make": "the target is looked up instead; .ci/run runs `make test`",
    "torchrun": "several processes; tests/training/test_many_processes.py has groups of them",
    "docker": "there is none; the file is checked by tests/package/test_cluster_examples.py",
    "python": "the script's existence is checked; scripts and benchmarks take minutes",
}
"""What is not run, by how the line begins, and why. A beginning that no line has fails a test."""


@dataclass(frozen=True)
class Block:
    """A fenced block: its language, text and first line."""

    document: Path
    language: str
    text: str
    line: int

    def __str__(self):
        return f"{self.document.name}:{self.line}"


def blocks_of(document):
    """All fenced blocks of a document."""
    text = document.read_text(encoding="utf-8")
    fence = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
    return [
        Block(document, match[1], match[2], text[: match.start()].count("\n") + 1)
        for match in fence.finditer(text)
    ]


def prose_of(document):
    """A document without its fenced blocks."""
    return re.sub(r"^```.*?^```$", "", document.read_text("utf-8"), flags=re.M | re.S)


BLOCKS = [block for document in DOCUMENTS for block in blocks_of(document)]
PYTHON = [block for block in BLOCKS if block.language == "python"]
SHELL = [block for block in BLOCKS if block.language in ("sh", "bash", "shell", "console")]


def commands_of(block):
    """The lines of a shell block as lists of words, without comments; `\\` joins lines."""
    lines = block.text.replace("\\\n", " ").splitlines()
    return [words for line in lines if (words := shlex.split(line, comments=True))]


LINES = [words for block in SHELL for words in commands_of(block)]


# --- what the documents speak of


def write_pictures(path, pictures, *, fps):
    """Write a video."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def things(tmp_path_factory):
    """A folder with the files that documents name, of a video of six frames."""
    folder = tmp_path_factory.mktemp("documents")
    frames = load_frames(ASSETS / "demo.mp4").images[:6]
    large = [np.asarray(Image.fromarray(frame).resize((640, 480))) for frame in frames]
    write_pictures(folder / "walk.mp4", large, fps=8)
    for name in ("a", "b"):
        (folder / "videos").mkdir(exist_ok=True)
        write_pictures(folder / "videos" / f"{name}.mp4", large[:2], fps=8)
    for name in ("shots", "masks"):
        (folder / name).mkdir()
    for index, picture in enumerate(large):
        mask = np.zeros(picture.shape[:2], np.uint8)
        mask[:20, :30] = 255
        Image.fromarray(mask).save(folder / "masks" / f"{index}.png")
        if index < 3:
            Image.fromarray(picture).save(folder / "shots" / f"{index}.jpg")
    (folder / "seconds.txt").write_text("0\n0.5\nnan\n")
    lens = {"fx": 520, "fy": 520, "cx": 320, "cy": 240, "distortion": [-0.25, 0.06, 0, 0]}
    (folder / "lens.json").write_text(json.dumps(lens))
    arguments = ["-o", str(folder / "walk.4d"), "--frames", "4"]
    assert cli.main(["reconstruct", str(folder / "walk.mp4"), *arguments]) == 0
    arguments = "--clips 2 --seed 1000000000 --height 48 --width 64 --frames 3".split()
    assert cli.main(["synth", "-o", str(folder / "held_out"), *arguments]) == 0
    lines = [f"{k / 8} {0.1 * k} 0 0 0 0 0 1\n" for k in range(6)]
    (folder / "walk.tum").write_text("".join(lines))
    files = ("my_vdpm.pt", "my_da3_base.safetensors", "VGGT-1B/model.pt")
    for name in (*files, "DUSt3R_ViTLarge_BaseDecoder_512_dpt.pth"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(b"a stand-in")
    return folder


@pytest.fixture
def workplace(things, tmp_path, monkeypatch, own_cards):
    """A copy of `things` to work in, as the current folder, with a weights folder of its own."""
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path / "weights"))
    shutil.copytree(things, tmp_path / "here")
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path / "here"


@pytest.fixture
def stand_ins(monkeypatch):
    """Replace what would download, take days or serve for ever; returns what was stood in for."""
    used = []
    require, load = weight_files.require_weights, functools.cache(catalog.load_model)

    def load_model(name="nano", *, weights=None, **options):
        if weights is not None and Path(weights).stat().st_size > 1000:
            # A scene's own network, which later questions need.
            return load(name, weights=weights, **options)
        if not isinstance(find_card(name).loader, str):
            # The document registered it.
            return load(name, weights=weights, **options)
        used.append(name)
        # One that takes known poses, where these may be asked for.
        posed = "poses" not in find_card(name).cannot
        return Da3Network(da3_miniature()).eval() if posed else FakeModel(32)

    def require_weights(name, given=None):
        if not isinstance(find_card(name).loader, str):
            return require(name, given)
        assert given is None or Path(given).is_file(), f"the document speaks of no {given} before"
        return require(name, given) if name in NEWEST else Path(given or "stand-in")

    def train(*, recipe, output, changes, resume, start_from, **_):
        config = changed(find_recipe(recipe), changes)
        assert start_from is None or Path(start_from).is_file()
        assert not (config.fine_tunes and start_from is None and not resume)
        used.append(recipe)
        output.mkdir(parents=True, exist_ok=True)
        (output / "weights.safetensors").write_bytes(b"a stand-in")
        return output / "weights.safetensors"

    for module in (catalog, score):
        monkeypatch.setattr(module, "load_model", load_model, raising=False)
    monkeypatch.setattr(weight_files, "require_weights", require_weights)
    monkeypatch.setattr(weight_files, "fetch", lambda card, **options: used.append(card.name))
    monkeypatch.setattr(training_run, "train", train)
    monkeypatch.setattr(mp4, "_LONGER_SIDE", 64)
    monkeypatch.setattr(contact_sheet, "draw", lambda rec, tracks=None: Image.new("RGB", (8, 8)))
    return used


# --- shell


def run_command(words, monkeypatch):
    """Run one `dynapoint` line in this process; returns its exit code."""
    arguments = words[1:]
    for option in ("-o", "--output"):
        if option in arguments and arguments[0] not in ("synth", "train"):
            # Lines are run alone: that an earlier one wrote the same scene does not matter.
            target = Path(arguments[arguments.index(option) + 1])
            shutil.rmtree(target, ignore_errors=True)
    if arguments[0] == "synth":
        # The same clips, but few and small.
        shutil.rmtree(arguments[arguments.index("-o") + 1], ignore_errors=True)
        arguments[arguments.index("--clips") + 1] = "1"
        arguments += "--height 32 --width 40 --frames 3".split()
    if arguments[0] == "view":
        from dynapoint.cli import view

        def interrupted(seconds):
            raise KeyboardInterrupt

        monkeypatch.setattr(view.time, "sleep", interrupted)
        return {cli.INTERRUPTED: 0}.get(cli.main([*arguments, "--port", "0"]), 1)
    return cli.main(arguments)


def skip_reason(words):
    """Why a line is not run, or None."""
    line = " ".join(words)
    return next((why for start, why in SKIPPED.items() if line.startswith(start)), None)


def marked(block):
    """Slow where a scene is written in all formats: what each writes has quick tests of its own."""
    many = block.text.count("dynapoint export") > 3
    return pytest.param(block, marks=[pytest.mark.slow] if many else [], id=str(block))


@pytest.mark.parametrize("block", [marked(block) for block in SHELL])
def test_commands_run(block, workplace, stand_ins, monkeypatch, capfd):
    for words in commands_of(block):
        if skip_reason(words) is None:
            assert words[0] == "dynapoint", f"{words[0]} is neither run nor in SKIPPED"
            code = run_command(words, monkeypatch)
            assert code == 0, f"{shlex.join(words)} ended with {code}: {capfd.readouterr().err}"


def test_what_is_skipped_is_still_there():
    spans = [span.split() for document in DOCUMENTS for span in inline_code(document)]
    everything = [" ".join(words) for words in [*LINES, *spans] if words]
    for start in SKIPPED:
        assert any(line.startswith(start) for line in everything), f"no line begins with {start}"


def inline_code(document):
    """What stands between single back quotes, with line ends as spaces."""
    return [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose_of(document))]


def test_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.M))
    spans = [span.split() for document in DOCUMENTS for span in inline_code(document)]
    named = {words[1] for words in [*LINES, *spans] if words[:1] == ["make"] and len(words) > 1}
    assert named and named <= targets


def test_scripts_exist():
    spans = [span.split() for document in DOCUMENTS for span in inline_code(document)]
    for words in [*LINES, *spans]:
        if words[0] == "python" and len(words) > 1 and words[1].endswith(".py"):
            assert (ROOT / words[1]).is_file(), words[1]


# --- Python


def shapes_in(comment):
    """Shapes that a comment states: `(frames, 1, 3) and (frames, 1)` are two."""
    found = re.findall(r"\(((?:\w+,)|(?:\w[\w ]*(?:, \w[\w ]*)+))\)", comment)
    return [tuple(word.strip() for word in shape.split(",") if word.strip()) for shape in found]


def check_shapes(text, names, sizes):
    """Hold every shape in a comment behind an expression to what the expression gives.

    Words stand for numbers that are the same all over the block; `sizes` grows by them.
    """
    tree, lines = ast.parse(text), text.splitlines()
    checked = 0
    for node in tree.body:
        comment = lines[node.end_lineno - 1][node.end_col_offset :].partition("#")[2]
        shapes = shapes_in(comment)
        if not shapes or not isinstance(node, ast.Expr | ast.Assign):
            continue
        shown = node.value if isinstance(node, ast.Expr) else node.targets[0]
        values = eval(ast.unparse(shown), names)
        values = values if isinstance(values, tuple) else (values,)
        assert len(shapes) == len(values), f"{lines[node.lineno - 1]} has {len(values)} values"
        for shape, value in zip(shapes, values, strict=True):
            meant = [
                int(word) if word.isdigit() else sizes.setdefault(word, side)
                for word, side in zip(shape, np.shape(value), strict=True)
            ]
            assert tuple(meant) == np.shape(value), f"{lines[node.lineno - 1]}: {np.shape(value)}"
            checked += 1
    return checked


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_python_blocks_run(document, workplace, request):
    if document != README:
        request.getfixturevalue("stand_ins")
    pair_network = build_network(replace(tiny(), decoder=None)).eval()
    names = {"__name__": "documents", "pair_network": pair_network}
    checked = 0
    for block in blocks_of(document):
        if block.language == "python":
            exec(compile(block.text, str(block), "exec"), names)
            sizes = {"frames": names["rec"].frame_count} if "rec" in names else {}
            checked += check_shapes(block.text, names, sizes)
    assert checked >= 6 or document != README
    if document.name == "extending.md":
        # The toy by its registered name, fresh and opened, is the toy handed over.
        wall = reconstruct("walk.mp4", names["Wall"]())
        named, opened = reconstruct("walk.mp4", "wall-1"), dynapoint.open("wall.4d")
        assert named.model_name == opened.model_name == "wall-1"
        assert opened.weights_sha256 == sha256_of(
            weight_files.weights_folder() / "wall-1.safetensors"
        )
        for rec in (named, opened):
            assert np.array_equal(rec.maps(frame=1, time=3)[0], wall.maps(frame=1, time=3)[0])
        assert not np.allclose(wall.maps(frame=1, time=3)[0], wall.own_time_points[1])


def test_wrong_shapes_are_seen():
    names = {"a": np.zeros((2, 3)), "b": np.zeros(2)}
    assert check_shapes("a, b  # (frames, 3) and (frames,), larger is better", names, {}) == 2
    assert check_shapes("a.T  # (xyz, frames)", names, {"frames": 2}) == 1
    for wrong in ("a, b  # (frames, 3) and (3,)", "a  # (frames, frames)", "a  # (2, 3, 1)"):
        with pytest.raises((AssertionError, ValueError)):
            check_shapes(wrong, names, {})
    with pytest.raises(AssertionError):
        check_shapes("a, b  # (n, 3) and (n,)", names, {"n": 3})


# --- examples


def test_examples_are_numbered_and_short():
    assert [path.name[:2] for path in EXAMPLES] == [f"{n:02d}" for n in range(1, len(EXAMPLES) + 1)]
    assert len(EXAMPLES) >= 5
    for path in EXAMPLES:
        assert len(path.read_text().splitlines()) <= 60, path.name


@pytest.mark.parametrize(
    "path",
    [
        # With the shipped network; the last ones bring quick ones of their own.
        pytest.param(path, id=path.stem, marks=[pytest.mark.slow] if path in EXAMPLES[:-2] else [])
        for path in EXAMPLES
    ],
)
def test_examples_run(path, things, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    source = "held_out" if "evaluate" in path.stem else "walk.mp4"
    runpy.run_path(str(path))["main"](things / source, tmp_path / "out")
    assert any((tmp_path / "out").iterdir())


NOTEBOOK = ROOT / "examples" / "notebook.ipynb"


def cells_of(notebook):
    """The code cells of a notebook."""
    cells = json.loads(notebook.read_text("utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def statements(text):
    """Code without comments and blank lines."""
    return [ast.unparse(node) for node in ast.parse(text).body]


def test_the_notebook_is_what_the_readme_shows():
    # The README's lines are run by test_python_blocks_run.
    shown = next(block for block in PYTHON if block.document == README)
    assert statements("\n".join(cells_of(NOTEBOOK))) == statements(shown.text)


@pytest.mark.slow
def test_the_notebook_runs(workplace):
    names = {}
    displayed = 0
    for cell in cells_of(NOTEBOOK):
        *body, last = ast.parse(cell).body
        exec(compile(ast.Module(body, []), "notebook", "exec"), names)
        if not isinstance(last, ast.Expr):
            exec(compile(ast.Module([last], []), "notebook", "exec"), names)
            continue
        value = eval(compile(ast.Expression(last.value), "notebook", "eval"), names)
        if hasattr(value, "_repr_html_"):
            assert value._repr_html_().startswith("<")
            displayed += 1
    assert displayed == 2 and (workplace / "walk.glb").is_file()


# --- names and links


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(document):
    for target in re.findall(r"\]\(([^)\s]+)\)", prose_of(document)):
        if not target.startswith(("http://", "https://", "#")):
            assert (document.parent / target.split("#")[0]).exists(), target


def all_commands():
    """Names of the commands, with the fields of their classes."""
    return cli.COMMANDS


def test_every_command_and_format_is_spoken_of():
    text = "\n".join(document.read_text("utf-8") for document in DOCUMENTS)
    for name in all_commands():
        assert f"dynapoint {name}" in text, name
    for name in FORMATS:
        assert f"`{name}`" in README.read_text("utf-8"), f"{name} is missing in the README"
        assert f"--to {name} " in text, f"no line exports {name}"


def test_formats_spoken_of_exist():
    table = re.findall(r"^\| ((?:`[\w-]+`(?:, )?)+) \|", README.read_text("utf-8"), re.M)
    named = {name for cell in table for name in re.findall(r"`([\w-]+)`", cell)}
    assert named & set(FORMATS) == set(FORMATS) and named <= {*FORMATS, *CARDS, *NEWEST}


def test_every_model_is_in_the_readme():
    text = README.read_text("utf-8")
    for card in CARDS.values():
        short = next((name for name, version in NEWEST.items() if version == card.name), card.name)
        assert f"`{short}`" in text, short


def test_inline_commands_and_options_exist(capsys):
    commands = all_commands()
    known = {"--accept-license", "--version", "--help", "--check"}
    for name in commands:
        with pytest.raises(SystemExit):
            cli.main([name, "--help"])
        known |= set(re.findall(r"--[a-z][a-z-]+", capsys.readouterr().out))
    for document in DOCUMENTS:
        for span in inline_code(document):
            words = span.split()
            if words[0] == "dynapoint" and len(words) > 1 and words[1].islower():
                assert words[1] in commands, span
            if words[0] == "dynapoint" or span.startswith("--"):
                for option in re.findall(r"(?<![\w-])--[a-z][a-z-]+", span):
                    assert option in known, f"{document.name}: {option}"


def test_formats_lists_every_array_of_a_scene():
    rows = re.findall(
        r"^\| `(\w+)\.npy` \| .* \| (\w+) \|$", (ROOT / "docs/formats.md").read_text(), re.M
    )
    known = store._LAYOUT | store._OPTIONAL
    assert dict(rows) == {name: dtype for name, (_, dtype) in known.items()}
    lean = (ROOT / "docs/formats.md").read_text().partition("**Lean scenes**")[2]
    assert all(f"| `{name}.npy` " in lean for name in store._LEAN)


def test_the_picture_is_small_and_there():
    pictures = [path for path in (ROOT / "docs" / "pictures").iterdir() if path.is_file()]
    assert pictures and all(path.stat().st_size <= 250_000 for path in pictures)


def test_documents_that_code_names_exist():
    code = [path for part in ("src", "scripts", "benchmarks") for path in (ROOT / part).rglob("*")]
    named = {
        name
        for path in code
        if path.suffix in (".py", ".sh", ".js")
        for name in re.findall(r"\bdocs/[\w/]+\.md\b", path.read_text(encoding="utf-8"))
    }
    assert len(named) > 10 and [name for name in sorted(named) if not (ROOT / name).is_file()] == []
