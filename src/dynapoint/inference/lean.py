"""Scenes that keep what they show and nothing of the network: for thousands of clips."""

from dataclasses import replace

from dynapoint.results.reconstruction import PointDecoder, Reconstruction

LEFT_OUT = "left out"
"""What the settings of a lean scene say of the network."""


class WithoutNetwork:
    """Answers as a reconstruction's decoder does, and leaves nothing of the network in a scene."""

    def __init__(self, decoder: PointDecoder) -> None:
        self.decode = decoder.decode


def lean(rec: Reconstruction) -> Reconstruction:
    """A reconstruction whose scene holds what it shows, and neither the network nor its tokens.

    Stored, it answers for frame 0 at all times and for all frames at their own. Where points are
    seen follows from the maps alone, since the pictures in which it is measured are left out too.
    """
    settings = {**rec.settings, "network": LEFT_OUT}
    return replace(rec, decoder=WithoutNetwork(rec.decoder), pictures=None, settings=settings)
