"""DPM's loss of a pair (arXiv 2503.16318 eq. 6-7): the four maps as one cloud of points."""

from dataclasses import dataclass

from jaxtyping import Float
from torch import Tensor

from dynapoint.models.protocol import PairMaps
from dynapoint.training.losses import confidence_weighted_regression
from dynapoint.types import TruthSample


@dataclass(frozen=True, kw_only=True)
class DpmLoss:
    """Choices in DPM's loss.

    `alpha` is UNCONFIRMED, because the paper gives no number: it is DUSt3R's and MonST3R's.
    """

    alpha: float = 0.2


@dataclass(frozen=True, kw_only=True)
class DpmLossParts:
    """DPM's total, and for logs what its confidence-weighted error is of own and of other times.

    `own_time` is of P_1(t_1) and P_2(t_2), `other_time` of P_1(t_2) and P_2(t_1); each is scaled by
    itself, so that they do not add up to the total.
    """

    total: Float[Tensor, ""]
    own_time: Float[Tensor, ""]
    other_time: Float[Tensor, ""]


def dpm_loss(maps: PairMaps, sample: TruthSample, loss: DpmLoss) -> DpmLossParts:
    """Compare the four maps of each pair of a sample with the truth.

    Prediction and truth are each divided by the mean distance of all their supervised points, the
    four maps together; maps without truth count in neither.
    """
    mask = sample.valid[:, None] & sample.supervised[..., None, None]
    own = mask.clone()
    own[:, 0, 1] = own[:, 1, 0] = False

    def regression(of: Tensor) -> Float[Tensor, ""]:
        return confidence_weighted_regression(
            maps.points,
            maps.confidence,
            sample.points,
            of,
            alpha=loss.alpha,
            normalise_prediction=True,
            per_example=False,
        )

    total = regression(mask)
    return DpmLossParts(
        total=total, own_time=regression(own).detach(), other_time=regression(mask & ~own).detach()
    )
