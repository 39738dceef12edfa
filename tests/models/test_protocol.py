"""What a model must have, what it may say of itself, and what is refused in one line."""

from dataclasses import FrozenInstanceError, dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import torch

import dynapoint
from dynapoint.errors import ModelError
from dynapoint.models.cards import ModelCard, known_models, register
from dynapoint.models.catalog import load_model
from dynapoint.models.kept.kept_kinds import kind_of_name, name_of_kind
from dynapoint.models.pairwise import PairwiseVideo
from dynapoint.models.protocol import (
    MINIMUM,
    PLAIN,
    EncodeRequest,
    InformedModel,
    ModelInfo,
    PointMapModel,
    check_model,
    encode,
    info_of,
)
from dynapoint.models.source import ModelSource
from exact_pairs import ExactPairs, exact_clip
from fake_model import FakeModel, picture_array
from test_systems import SYSTEMS

PICTURES = picture_array(3, 32, 48)


def one_line(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


class Told(FakeModel):
    """A model that keeps what it was asked."""

    info = ModelInfo(
        name="told-1", precision="bfloat16", weights_sha256="abc", takes_intrinsics=True
    )

    def encode(self, images, request=PLAIN):
        self.request = request
        return super().encode(images)


def test_the_minimum_is_enough_and_is_given_images_alone():
    model = FakeModel()
    assert not isinstance(model, InformedModel)
    rec = dynapoint.reconstruct(PICTURES, model, progress=True, intrinsics=[48, 48, 24, 16])
    assert rec.model_name == "FakeModel" and rec.weights_sha256 is None
    assert rec.settings["precision"] == "float32"


@pytest.mark.parametrize("missing", MINIMUM)
def test_what_is_missing_of_the_minimum_is_named(missing):
    members = {name: None for name in MINIMUM if name != missing}
    with pytest.raises(ModelError) as error:
        check_model(type("Mine", (), members)())
    assert one_line(error).startswith(f"model Mine has no {missing}; a model has patch_size, ")
    check_model(type("Mine", (), {**members, missing: None})())


def test_what_is_no_model_is_refused_before_frames_are_read():
    clip = exact_clip(3, frames=2, image_hw=(32, 40))
    for model, words in (
        (3, "model is a int; give the name of a network"),
        (ExactPairs(clip), r"answers for pairs of frames; give models.pairwise.PairwiseVideo"),
        (type("Odd", (FakeModel,), {"info": {"name": "odd"}})(), "info of model Odd is a dict"),
    ):
        with pytest.raises(ModelError, match=words) as error:
            dynapoint.reconstruct("no such file", model)
        one_line(error)


def test_a_model_that_says_what_it_is_is_asked_with_a_request():
    model = Told()
    lens = np.array([[60.0, 0, 24], [0, 50, 16], [0, 0, 1]])
    rec = dynapoint.reconstruct(PICTURES, model, intrinsics=lens, progress=True)
    assert (rec.model_name, rec.weights_sha256) == ("told-1", "abc")
    assert rec.settings["precision"] == "bfloat16" and rec.settings["intrinsics"] == "given"
    asked = model.request
    assert asked.progress and asked.reference == 0 and asked.queries is None
    # 48 x 32 pixels become 64 x 40: 64 / 48 across, 40 / 32 along.
    in_images = np.diag([64 / 48, 40 / 32, 1]) @ lens
    np.testing.assert_allclose(asked.intrinsics[0], np.tile(in_images, (3, 1, 1)), rtol=1e-6)
    assert asked.pixel_aspect == pytest.approx((64 / 48) / (40 / 32))
    dynapoint.reconstruct(PICTURES, model)
    assert model.request.intrinsics is None and not model.request.progress


def test_what_a_model_does_not_take_is_refused():
    info = ModelInfo(name="m")
    lens, queries = torch.eye(3).expand(1, 2, 3, 3), torch.zeros(1, dtype=torch.long)
    PLAIN.check(info, 1000)
    EncodeRequest(pixel_aspect=2.0, progress=True).check(info, 2)
    for asked, taking, words in (
        (EncodeRequest(reference=1), {"takes_reference": True}, "no choice of the reference"),
        (EncodeRequest(intrinsics=lens), {"takes_intrinsics": True}, "takes no intrinsics"),
        (EncodeRequest(queries=queries), {"takes_queries": True}, "takes no queries"),
        (PLAIN, {"most_frames": 2}, "takes 1 frames at most and got 2; use fewer"),
    ):
        refusing = replace(info, most_frames=1) if asked is PLAIN else info
        with pytest.raises(ModelError, match=words) as error:
            asked.check(refusing, 2)
        one_line(error)
        asked.check(replace(info, **taking), 2)


def test_a_window_is_kept():
    class Short(Told):
        info = replace(Told.info, most_frames=2)

    assert dynapoint.reconstruct(PICTURES, Short(), frames=2).frame_count == 2
    with pytest.raises(ModelError, match="told-1 takes 2 frames at most and got 3"):
        dynapoint.reconstruct(PICTURES, Short())


@dataclass
class Halves:
    """An encoding whose parts are what the test wants."""

    own_time: object
    cameras: object


def test_what_encode_and_decode_give_is_looked_at():
    images = torch.zeros(1, 2, 3, 16, 16)
    right = FakeModel().encode(images)

    class Wrong(FakeModel):
        def __init__(self, encoded):
            super().__init__()
            self.given = encoded

        def encode(self, images):
            return self.given

    for given, words in (
        ((1, 2), "encode of model Wrong gave a tuple; it must have own_time"),
        (Halves(right.own_time.points, right.cameras), "own_time of what .* is a Tensor"),
        (Halves(right.own_time, None), "cameras of what .* make it dynapoint.Cameras"),
    ):
        with pytest.raises(ModelError, match=words) as error:
            encode(Wrong(given), images, PLAIN)
        one_line(error)

    class Bare(FakeModel):
        def decode(self, encoded, *, time, frames):
            return super().decode(encoded, time=time, frames=frames).points

    rec = dynapoint.reconstruct(PICTURES, Bare())
    with pytest.raises(ModelError, match="decode of model Bare gave a Tensor") as error:
        rec.maps(frame=0, time=1)
    one_line(error)


@pytest.mark.parametrize("name", sorted(SYSTEMS))
def test_every_network_of_the_package_says_what_it_is(name):
    model = SYSTEMS[name]()
    assert isinstance(model, InformedModel) and isinstance(model, PointMapModel)
    info = info_of(model)
    inner = model.pair_model if isinstance(model, PairwiseVideo) else model
    assert info.name == inner.config.name and info.precision == "float32"
    assert info.source is None and info.weights_sha256 is None
    assert info.takes_reference == (name == "vdpm")
    assert info.takes_intrinsics == info.takes_queries == (name in ("dept3r", "dept3r-nano"))
    frames = torch.rand(1, 2, 3, 2 * model.patch_size, 2 * model.patch_size)
    with torch.no_grad():
        plain, asked = model.encode(frames), model.encode(frames, EncodeRequest())
    assert torch.equal(plain.own_time.points, asked.own_time.points)
    if not info.takes_intrinsics:
        with pytest.raises(ModelError, match="takes no intrinsics"):
            model.encode(frames, EncodeRequest(intrinsics=torch.eye(3).expand(1, 2, 3, 3)))


def test_info_is_what_was_loaded():
    model = load_model("dpm-nano", device="cpu")
    source = info_of(model).source
    assert source is not None and source.name == "dpm-nano"
    assert info_of(model).name == "dpm-nano-1"
    assert info_of(model).weights_sha256 == source.weights_sha256
    with pytest.raises(FrozenInstanceError):
        info_of(model).name = "other"


@pytest.mark.usefixtures("own_cards")
def test_registered_cards(tmp_path):
    def card(name: str, **kinds: type) -> ModelCard:
        return ModelCard(
            name=name,
            parameters=1,
            licence="any",
            source="here",
            weights_file=None,
            loader=Loaded,
            kinds=kinds,
        )

    class Loaded(FakeModel):
        def __init__(self, source: ModelSource) -> None:
            super().__init__()
            self.info = ModelInfo(name="mine-2", source=source)

        def encode(self, images, request=PLAIN):
            return super().encode(images)

    for name in ("nano", "nano-1", "vdpm"):
        with pytest.raises(ModelError, match=f"the name '{name}' is taken"):
            register(card(name))
    register(card("mine", halves=Halves))
    assert "mine" in known_models()
    assert name_of_kind(Halves) == "halves" and kind_of_name("halves") is Halves
    with pytest.raises(ModelError, match="the name 'halves' is taken; give model 'yours' another"):
        register(card("yours", halves=Halves))
    (tmp_path / "w.bin").write_bytes(b"weights")
    model = load_model("mine", weights=tmp_path / "w.bin")
    assert isinstance(model, Loaded) and info_of(model).source.weights == Path(tmp_path / "w.bin")
    for option, words in (
        ({"precision": "bfloat16"}, "float32, uncompiled"),
        ({"decoder_weights": "int8"}, "has no time decoder"),
    ):
        with pytest.raises(ModelError, match=words):
            load_model("mine", weights=tmp_path / "w.bin", **option)
    rec = dynapoint.reconstruct(PICTURES, model)
    with pytest.raises(ModelError, match=r"mine encoded cannot be kept: .*ModelCard.kinds"):
        rec.save(tmp_path / "scene.4d")
    assert not (tmp_path / "scene.4d").exists()
