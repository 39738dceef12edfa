"""Global alignment: cameras, depths and similarities of groups of frames that agree best."""
