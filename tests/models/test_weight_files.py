"""Where weights are found, what the user is told, and downloads from a stand-in for the hub."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from dynapoint import cli
from dynapoint.errors import ModelError
from dynapoint.models import weight_files
from dynapoint.models.cards import ASSETS, CARDS, find_card
from dynapoint.models.weight_files import describe, fetch, find_weights, require_weights

VDPM = CARDS["vdpm"]
# More than one of the pieces, of 10 MiB, that the library writes at once.
CONTENT = bytes(range(251)) * 50_000
HASH = hashlib.sha256(CONTENT).hexdigest()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch) -> Path:
    """An empty folder of weights, and an empty Hugging Face cache."""
    monkeypatch.setenv("DYNAPOINT_HOME", str(tmp_path / "home"))
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "home"


class StandIn(ThreadingHTTPServer):
    """Answers as the hub does for one large file; `breaks_at` cuts the connection there."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answers)
        self.tag = HASH
        self.breaks_at = len(CONTENT)
        self.asked_from: list[int] = []


class _Answers(BaseHTTPRequestHandler):
    server: StandIn

    def log_message(self, *_arguments: object) -> None:
        """Keep the tests quiet."""

    def _head(self, start: int = 0) -> None:
        self.send_response(206 if start else 200)
        self.send_header("X-Linked-ETag", f'"{self.server.tag}"')
        self.send_header("X-Repo-Commit", "c" * 40)
        self.send_header("Content-Length", str(len(CONTENT) - start))
        self.end_headers()

    def do_HEAD(self) -> None:
        self._head()

    def do_GET(self) -> None:
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").rstrip("-"))
        self.server.asked_from.append(start)
        self._head(start)
        self.wfile.write(CONTENT[start : self.server.breaks_at])


@pytest.fixture
def hub(monkeypatch) -> Iterator[StandIn]:
    """The stand-in, which the library is led to."""
    library = pytest.importorskip("huggingface_hub")
    transfer = pytest.importorskip("huggingface_hub.file_download")
    server = StandIn()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setattr(
        library,
        "hf_hub_url",
        lambda repository, name: f"http://127.0.0.1:{server.server_port}/{repository}/{name}",
    )
    monkeypatch.setattr(transfer.time, "sleep", lambda _seconds: None)
    yield server
    server.shutdown()
    server.server_close()


def place(path: Path, content: bytes = b"weights") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def test_shipped_weights_are_found():
    assert require_weights("nano") == ASSETS / "nano-2.safetensors"
    assert find_weights(find_card("nano")) == ASSETS / "nano-2.safetensors"


def test_models_without_weights_say_what_to_give(tmp_path, capsys):
    assert find_weights(CARDS["dpm"]) is None
    with pytest.raises(ModelError, match="no code or weights of DPM are public; give --weights"):
        require_weights("dpm")
    assert require_weights("dpm", tmp_path / "mine.pt") == tmp_path / "mine.pt"
    assert "2.43 GB" in describe(CARDS["dpm"]) and "models get" not in describe(CARDS["dpm"])
    assert cli.main(["models", "get", "dpm", "--accept-license"]) == 1
    printed = capsys.readouterr()
    assert "give --weights with a file in DUSt3R's" in printed.err
    assert len(printed.err.splitlines()) == 1


def test_placed_weights_are_found(folder):
    assert find_weights(VDPM) is None
    pickled = place(folder / "vdpm.pt")
    assert find_weights(VDPM) == pickled == require_weights("vdpm")
    safe = place(folder / "vdpm.safetensors")
    assert find_weights(VDPM) == safe
    assert find_weights(CARDS["vggt"]) is None


def test_folder_of_weights_without_the_variable(tmp_path, monkeypatch):
    monkeypatch.delenv("DYNAPOINT_HOME")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert find_weights(VDPM) is None
    path = place(tmp_path / ".cache" / "dynapoint" / "vdpm.pt")
    assert find_weights(VDPM) == path


def test_weights_in_the_hugging_face_cache_are_found(tmp_path, folder):
    repository = tmp_path / "cache" / "models--edgarsucar--vdpm"
    place(repository / "refs" / "main", b"abc123")
    path = place(repository / "snapshots" / "abc123" / "model.pt")
    assert find_weights(VDPM) == path
    assert find_weights(CARDS["vggt"]) is None
    # What the user has placed comes first.
    assert place(folder / "vdpm.pt") == find_weights(VDPM)


def test_given_weights_win(folder, tmp_path):
    place(folder / "vdpm.pt")
    assert require_weights("vdpm", tmp_path / "mine.pt") == tmp_path / "mine.pt"
    assert require_weights("nano", tmp_path / "mine.safetensors") == tmp_path / "mine.safetensors"
    with pytest.raises(ModelError, match="unknown model 'giant'"):
        require_weights("giant", tmp_path / "mine.pt")


def test_missing_weights_say_how_to_get_them(folder):
    with pytest.raises(ModelError) as caught:
        require_weights("vdpm")
    said = str(caught.value)
    for part in (
        "`dynapoint models get vdpm --accept-license`",
        "place model.pt of huggingface.co/edgarsucar/vdpm at",
        str(folder / "vdpm.pt"),
        "--weights",
    ):
        assert part in said
    assert "\n" not in said


def test_reconstruct_says_so_before_it_reads_anything(folder, tmp_path, capsys):
    arguments = ["reconstruct", "none.mp4", "-o", str(tmp_path / "out"), "--model", "vggt"]
    assert cli.main(arguments) == 1
    printed = capsys.readouterr()
    assert "weights of 'vggt' are not here" in printed.err
    assert len(printed.err.splitlines()) == 1 and printed.out == ""


def test_list(folder, capsys):
    place(folder / "vdpm.pt", bytes(2_500_000))
    assert cli.main(["models"]) == 0
    nano, _, _, small, base, metric, vdpm, vggt, *_ = capsys.readouterr().out.strip().split("\n\n")
    assert "nano-2 = nano: 6,367,813 parameters, 12.8 MB" in nano
    assert "Apache-2.0" in nano and str(ASSETS) in nano
    assert "da3-small: 33,993,874 parameters, 137.2 MB" in small and "Apache-2.0" in small
    assert "da3-base: 134,203,250 parameters, 541.5 MB" in base and "DA3-BASE" in base
    assert "da3-metric: 334,171,394 parameters, 1.34 GB" in metric and "DA3METRIC-LARGE" in metric
    assert "1,661,508,918 parameters, 2.5 MB" in vdpm
    assert "unstated" in vdpm and "non-commercial" in vdpm and "VGGT-1B" in vdpm
    assert "huggingface.co/edgarsucar/vdpm" in vdpm and str(folder / "vdpm.pt") in vdpm
    assert "1,190,596,120 parameters, 5.03 GB" in vggt
    assert "non-commercial" in vggt and "not here" in vggt and "track head" in vggt
    assert cli.main(["models", "list"]) == 0


def test_nothing_is_fetched_without_consent(hub, folder, capsys):
    assert cli.main(["models", "get", "vdpm"]) == 1
    printed = capsys.readouterr()
    assert "6.65 GB" in printed.out and "licence" in printed.out
    assert "`dynapoint models get vdpm --accept-license`" in printed.err
    assert len(printed.err.splitlines()) == 1
    assert hub.asked_from == [] and not folder.exists()


def test_what_is_free_needs_no_consent(hub, folder, capsys):
    assert cli.main(["models", "get", "da3-small"]) == 0
    printed = capsys.readouterr().out
    assert printed.index("Apache-2.0") < printed.index("weights in") and "137.2 MB" in printed
    assert (folder / "da3-small.safetensors").read_bytes() == CONTENT


def test_download(hub, folder, capsys):
    assert cli.main(["models", "get", "vdpm", "--accept-license"]) == 0
    assert (folder / "vdpm.pt").read_bytes() == CONTENT
    assert [path.name for path in folder.iterdir()] == ["vdpm.pt"]
    assert f"weights in {folder / 'vdpm.pt'}" in capsys.readouterr().out
    # What is here is not fetched again, consent or not.
    assert fetch(VDPM, accept_license=False) == folder / "vdpm.pt"
    assert hub.asked_from == [0]


def test_free_weights_need_no_consent(hub, folder):
    assert fetch(replace(VDPM, free=True), accept_license=False) == folder / "vdpm.pt"
    assert "--accept-license" not in describe(replace(CARDS["vggt"], free=True))


def test_shipped_weights_need_no_download(hub, capsys):
    assert cli.main(["models", "get", "nano"]) == 0
    assert f"weights in {ASSETS / 'nano-2.safetensors'}" in capsys.readouterr().out
    assert hub.asked_from == []


def test_a_broken_download_goes_on_where_it_stopped(hub, folder):
    hub.breaks_at = 11_000_000
    with pytest.raises(ModelError, match=r"could not be downloaded.*again to go on.*or place"):
        fetch(VDPM, accept_license=True)
    (partial,) = folder.iterdir()
    held = partial.stat().st_size
    assert 0 < held <= hub.breaks_at and find_weights(VDPM) is None
    hub.breaks_at = len(CONTENT)
    hub.asked_from.clear()
    assert fetch(VDPM, accept_license=True).read_bytes() == CONTENT
    assert hub.asked_from == [held]


def test_a_download_of_other_content_is_deleted(hub, folder):
    hub.tag = "0" * 64
    with pytest.raises(ModelError, match=f"SHA-256 {HASH} instead of 0000.*was deleted"):
        fetch(VDPM, accept_license=True)
    assert list(folder.iterdir()) == []


def test_a_file_without_a_hash_is_not_fetched(hub, folder):
    hub.tag = "abc"
    with pytest.raises(ModelError, match="gives no SHA-256"):
        fetch(VDPM, accept_license=True)
    assert hub.asked_from == [] and not folder.exists()


def test_without_the_library(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"needs huggingface_hub.*dynapoint\[hub\].*or place"):
        fetch(VDPM, accept_license=True)
    path = place(folder / "vdpm.pt")
    assert fetch(VDPM, accept_license=True) == find_weights(VDPM) == path


def test_any_failure_of_the_library_is_one_line(folder, monkeypatch):
    def broken(*_arguments: object) -> None:
        raise RuntimeError("no\nnetwork " + "x" * 999)

    monkeypatch.setattr(weight_files, "_download", broken)
    with pytest.raises(ModelError, match=r"downloaded \(no network xxx") as caught:
        fetch(VDPM, accept_license=True)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 700
