"""Two businesses side by side, and every way in tried as one with the ids of the other."""
