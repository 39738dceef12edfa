"""The image encoder: its weights, its padding, its place in a network."""

import dataclasses

import numpy as np
import pytest
import torch
from conftest import FixedStream, toy_truth
from torch.nn import functional

from dynapoint.errors import ModelError
from dynapoint.models.nano import encoder_weights
from dynapoint.models.nano.config import MatcherConfig, NetworkConfig, nano_2, tiny
from dynapoint.models.nano.encoder_weights import NORM_EPSILON, encoder_file, read_encoder
from dynapoint.models.nano.image_encoder import STAGES, ImageEncoder, PaddedConv
from dynapoint.models.nano.small_networks import build_network
from dynapoint.models.nano.stem import ChannelNorm, EncoderStem, StemFeatures
from dynapoint.training.distributed import Processes
from dynapoint.training.recipes import recipe
from dynapoint.training.recipes.small import smoke
from dynapoint.training.run import data_of
from dynapoint.training.trainer import Trainer


def with_encoder() -> NetworkConfig:
    """The tiny network with an encoder beside its stem."""
    base = tiny()
    return dataclasses.replace(
        base,
        stem=dataclasses.replace(base.stem, encoder="efficientnet-lite0"),
        matcher=MatcherConfig(width=160, hidden=16, from_encoder=True),
    )


def reference_maps(found: dict[str, torch.Tensor], images: torch.Tensor) -> list[torch.Tensor]:
    """The checkpoint's own way in float64: convolution, batch normalisation, ReLU6."""

    def unit(x, conv, norm, *, stride=1, active=True):
        weight = found[f"{conv}.weight"].double()
        groups = x.shape[1] // weight.shape[1]
        size, kernel = x.shape[-1], weight.shape[-1]
        assert x.shape[-1] == x.shape[-2]
        total = max((int(np.ceil(size / stride)) - 1) * stride + kernel - size, 0)
        before, after = total // 2, total - total // 2
        x = functional.pad(x, (before, after, before, after))
        x = functional.conv2d(x, weight, stride=stride, groups=groups)
        mean, variance, gain, bias = (
            found[f"{norm}.{name}"].double()
            for name in ("running_mean", "running_var", "weight", "bias")
        )
        x = functional.batch_norm(x, mean, variance, gain, bias, eps=NORM_EPSILON)
        return x.clamp(0, 6) if active else x

    x = unit((images.double() * 255 - 127) / 128, "_conv_stem", "_bn0", stride=2)
    maps, number = [], 0
    for stage in STAGES:
        for repeat in range(stage.repeats):
            before, entered = f"_blocks.{number}.", x
            if stage.expansion > 1:
                x = unit(x, before + "_expand_conv", before + "_bn0")
            stride = stage.stride if repeat == 0 else 1
            x = unit(x, before + "_depthwise_conv", before + "_bn1", stride=stride)
            x = unit(x, before + "_project_conv", before + "_bn2", active=False)
            x = x + entered if entered.shape == x.shape else x
            number += 1
        maps.append(x)
    return maps


@pytest.mark.parametrize("side", [64, 72])
def test_folded_weights_answer_as_the_checkpoint_does(side):
    encoder = ImageEncoder()
    encoder.load_state_dict(read_encoder(encoder_file()))
    images = torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(side))
    found = torch.load(encoder_file(), weights_only=True)
    expected = reference_maps(found, images)
    with torch.no_grad():
        maps = encoder.double()(images.double())
    assert [len(each[0]) for each in maps] == [stage.channels for stage in STAGES]
    for got, wanted in zip(maps, expected, strict=True):
        assert wanted.std() > 0.1
        torch.testing.assert_close(got, wanted, rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("size", [(7, 8), (8, 5), (9, 9)])
@pytest.mark.parametrize(("kernel", "stride"), [(3, 1), (3, 2), (5, 1), (5, 2)])
def test_padding_is_tensorflows(size, kernel, stride):
    conv = PaddedConv(1, 1, kernel, stride=stride, active=False)
    torch.nn.init.ones_(conv.weight)
    image = torch.randn(1, 1, *size)
    answer = conv(image)[0, 0]
    rows, columns = (-(-side // stride) for side in size)
    assert answer.shape == (rows, columns)
    tops = [
        max((out - 1) * stride + kernel - side, 0) // 2
        for out, side in zip((rows, columns), size, strict=True)
    ]
    for row in range(rows):
        for column in range(columns):
            top, left = row * stride - tops[0], column * stride - tops[1]
            seen = image[0, 0, max(0, top) : top + kernel, max(0, left) : left + kernel]
            assert answer[row, column].item() == pytest.approx(seen.sum().item(), abs=1e-5)


def test_channels_are_standardised_by_what_they_were_calibrated_on():
    maps = torch.randn(4, 3, 5, 6) * torch.tensor([0.1, 1, 30])[:, None, None] + 4
    norm = ChannelNorm(3)
    norm.calibrate(maps)
    normed = norm(maps)
    torch.testing.assert_close(normed.mean(dim=(0, 2, 3)), torch.zeros(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(normed.std(dim=(0, 2, 3)), torch.ones(3), rtol=1e-4, atol=0)
    norm.calibrate(torch.zeros(2, 3, 4, 4))
    assert norm(torch.zeros(2, 3, 4, 4)).isfinite().all()


def test_frames_are_encoded_apart():
    stem = EncoderStem(with_encoder().stem, 32).eval()
    images = torch.rand(3, 3, 32, 48)
    together, alone = stem(images), stem(images[[2]])
    for name in ("half", "quarter", "patches", "encoder_quarter", "encoder_patches"):
        joint, single = getattr(together, name)[[2]], getattr(alone, name)
        torch.testing.assert_close(joint, single, rtol=1e-4, atol=1e-4)
    assert together.half.shape[2:] == (16, 24) and together.quarter.shape[2:] == (8, 12)
    assert together.patches.shape[1:] == (32, 4, 6)


def test_descriptors_start_as_angles_between_the_encoders_maps():
    torch.manual_seed(3)
    config = with_encoder()
    matcher = build_network(config).matcher
    torch.nn.init.zeros_(matcher.learned_share)
    # One cell everywhere, so that the coarse map is the same at every cell.
    fine = torch.randn(1, 40, 8, 8)
    coarse = torch.randn(1, 112, 1, 1).expand(1, 112, 4, 4)
    stem = StemFeatures(
        half=torch.zeros(1, 8, 16, 16),
        quarter=torch.zeros(1, 16, 8, 8),
        patches=torch.zeros(1, 32, 4, 4),
        encoder_quarter=fine,
        encoder_patches=coarse,
    )
    with torch.no_grad():
        fine_part = functional.normalize(matcher.from_fine(fine), dim=1).flatten(2)[0]
        coarse_part = functional.normalize(matcher.from_coarse(coarse), dim=1)[0, :, 0, 0]
        found = matcher.describe(stem, torch.zeros(1, 32, 4, 4))[0]
    own = functional.normalize(fine, dim=1).flatten(2)[0]
    torch.testing.assert_close(fine_part.T @ fine_part, own.T @ own, rtol=0, atol=1e-5)
    whole = functional.normalize(fine_part + coarse_part[:, None], dim=0)
    torch.testing.assert_close(found, whole.T, rtol=0, atol=1e-5)


def test_a_run_begins_with_the_trained_encoder_and_leaves_it(tmp_path):
    config = dataclasses.replace(
        smoke(), network=with_encoder(), frozen=("stem.encoder.",), warmup_steps=1
    )
    trainer = Trainer(config, tmp_path, processes=Processes())
    trainer.stream = FixedStream(toy_truth(2), config.phases[0])
    trainer.begin()
    wanted = read_encoder(encoder_file())
    before = {k: v.clone() for k, v in trainer.network.state_dict().items()}
    for _ in range(2):
        report = trainer.train_step()
        assert not report.skipped and report.losses["total"] > 0
    after = trainer.network.state_dict()
    averaged = trainer.averaged_network().state_dict()
    for name, value in wanted.items():
        assert torch.equal(after[f"stem.encoder.{name}"], value)
        torch.testing.assert_close(averaged[f"stem.encoder.{name}"], value)
    assert before["stem.half_norm.spread"].min() > 0
    assert not torch.equal(
        before["stem.half_norm.mean"], torch.zeros_like(wanted["first.bias"])[:24]
    )
    assert not torch.equal(after["stem.to_half.weight"], before["stem.to_half.weight"])
    assert not torch.equal(after["matcher.from_fine.weight"], before["matcher.from_fine.weight"])


def test_what_the_weights_came_from_is_said():
    assert "ImageNet" in data_of(recipe("nano").network)
    assert "ImageNet" not in data_of(recipe("nano-plain").network)


def test_an_encoder_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(encoder_weights, "find_spec", lambda _: None)
    with pytest.raises(ModelError, match=r"dynapoint\[train\]"):
        encoder_file()


def test_a_damaged_file_of_the_encoder_is_named(tmp_path):
    path = tmp_path / "lite0.pth"
    path.write_bytes(encoder_file().read_bytes()[:10_000])
    with pytest.raises(ModelError, match=r"lite0\.pth"):
        read_encoder(path)
    torch.save({"_conv_stem.weight": torch.zeros(1)}, path)
    with pytest.raises(ModelError, match=r"lite0\.pth"):
        read_encoder(path)


def test_the_second_network_is_small_and_described_by_its_own_text():
    config = nano_2()
    assert NetworkConfig.from_json(config.to_json()) == config
    with torch.device("meta"):
        network = build_network(config)
    assert 6.0e6 < sum(parameter.numel() for parameter in network.parameters()) < 7.0e6
