"""Depth of all frames of a task after one fit."""

from dataclasses import dataclass
from typing import Literal

from dynapoint.datasets.sequence import TruthSequence
from dynapoint.evaluation.measures.depth_errors import depth_errors
from dynapoint.evaluation.measures.depth_fit import DepthFit
from dynapoint.evaluation.protocols.protocol import Column, Measured
from dynapoint.evaluation.protocols.task import Answer, Task
from dynapoint.evaluation.scorers.whole_truth import need_shape, nothing, true_depth

FITS: tuple[DepthFit, ...] = (
    "line_adam",
    "line_l1",
    "line_l2",
    "scale_l1",
    "scale_l2",
    "median",
    "none",
)

_IN_WORDS: dict[DepthFit, str] = {
    "line_adam": "scale, shift (Adam)",
    "line_l1": "scale, shift (L1)",
    "line_l2": "scale, shift (L2)",
    "scale_l1": "scale (L1)",
    "scale_l2": "scale (L2)",
    "median": "median",
    "none": "metric",
}


@dataclass(frozen=True, kw_only=True)
class DepthLimit:
    """Up to which depth a set is compared.

    Attributes:
        dataset: The set's key.
        farthest: Pixels of a larger true depth are not compared, in the set's unit.
        clipped_at: Predictions beyond this, after the fit, count as this.
    """

    dataset: str
    farthest: float
    clipped_at: float = float("inf")


@dataclass(frozen=True, kw_only=True)
class DepthScorer:
    """AbsRel, δ < 1.25 and RMSE under each fit, weighted by the pixels compared."""

    fits: tuple[DepthFit, ...] = FITS
    limits: tuple[DepthLimit, ...] = ()

    def __call__(self, task: Task, sequence: TruthSequence, answer: Answer) -> tuple[Measured, ...]:
        """Score one task."""
        keys = [key for fit in self.fits for key in depth_keys(fit)]
        if answer.depth is None or not sequence.holds.depth:
            return nothing(*keys)
        farthest = clipped_at = float("inf")
        for limit in self.limits:
            if limit.dataset == task.dataset:
                farthest, clipped_at = limit.farthest, limit.clipped_at
        truth = true_depth(task, sequence)
        need_shape(task, "depth", answer.depth, truth)
        measured = []
        for fit in self.fits:
            errors = depth_errors(
                truth, answer.depth, fit=fit, farthest=farthest, clipped_at=clipped_at
            )
            values = (errors.abs_rel, errors.delta, errors.rmse)
            measured += [
                Measured(metric=key, value=value, weight=float(errors.pixels))
                for key, value in zip(depth_keys(fit), values, strict=True)
            ]
        return tuple(measured)


def depth_keys(fit: DepthFit) -> tuple[str, str, str]:
    """Keys of AbsRel, δ and RMSE under a fit."""
    return f"abs_rel_{fit}", f"delta_{fit}", f"rmse_{fit}"


def depth_columns(
    default: DepthFit,
    pooled: Literal["tasks", "sequences", "weighted"],
    fits: tuple[DepthFit, ...] = FITS,
) -> tuple[Column, ...]:
    """Columns of a `DepthScorer`: AbsRel and δ of one fit count, those of the others stand beside.

    RMSE stands beside under every fit.
    """
    columns = []
    for fit in sorted(fits, key=lambda fit: fit != default):
        counts = fit == default
        kind = "" if counts else f", {_IN_WORDS[fit]}"
        relative, delta, rmse = depth_keys(fit)
        columns += [
            Column(
                metric=relative,
                title=f"AbsRel{kind}",
                unit="share of the depth",
                better="lower",
                pooled=pooled,
                default=counts,
            ),
            Column(
                metric=delta,
                title=f"δ < 1.25{kind}",
                unit="per cent of the pixels",
                better="higher",
                pooled=pooled,
                decimals=1,
                default=counts,
            ),
            Column(
                metric=rmse,
                title=f"RMSE{kind}",
                unit="of the set",
                better="lower",
                pooled=pooled,
                default=False,
            ),
        ]
    return tuple(columns)
