"""Videos of any length: windows of frames, what each says, and how they become one scene."""
