"""Telling a business's own server what happened: signed, kept until delivered, open to inspection."""
