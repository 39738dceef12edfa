"""What can be evaluated: networks, baselines, trivial answers, the truth, files of predictions."""
