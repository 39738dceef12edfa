"""A run of protocols: what is asked of which sets, predictions to files, scores from files."""
