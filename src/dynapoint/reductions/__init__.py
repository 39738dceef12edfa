"""Answers that dynamic point maps give: one function and one result type each."""
