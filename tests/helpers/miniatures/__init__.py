"""Miniatures of public data sets, written from engine clips by code that no reader shares."""
