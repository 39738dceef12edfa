"""DUSt3R's network, on which DPM rests."""
