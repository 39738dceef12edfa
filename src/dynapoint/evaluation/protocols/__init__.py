"""The papers' tables as data: sets, what is asked, how it is scored, and the papers' own rows."""
