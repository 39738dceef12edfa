"""The files between predicting and scoring: answers to tasks, and what made them."""
