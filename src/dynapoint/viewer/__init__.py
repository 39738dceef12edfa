"""A page to look at a scene in: what is shown (no browser needed), and the page itself (viser)."""
