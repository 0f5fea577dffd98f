"""Other ways to write to a bot: mailboxes and messengers, behind one small port."""
