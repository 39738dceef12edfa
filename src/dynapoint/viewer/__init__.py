"""Pages to look at scenes in and to upload videos to, served to browsers by this machine."""
