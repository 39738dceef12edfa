"""Networks that answer for two frames at a time, on video: pair graphs and global alignment."""

from dynapoint.models.pairwise.alignment import AlignmentConfig
from dynapoint.models.pairwise.graph import PairGraphConfig
from dynapoint.models.pairwise.video import PairwiseVideo

__all__ = ["AlignmentConfig", "PairGraphConfig", "PairwiseVideo"]
