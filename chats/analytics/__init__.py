"""What became of conversations: every share has the same denominator, the conversations that began in the window."""
