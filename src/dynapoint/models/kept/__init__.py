"""What a scene keeps of a clip, and how answers follow from it."""
