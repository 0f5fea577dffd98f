"""Commands of chats."""
