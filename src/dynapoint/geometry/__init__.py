"""Pure tensor functions of rotations, rigid motions and pinhole cameras."""
