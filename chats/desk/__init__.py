"""The agents' side: who owns a conversation, notes, tags, canned replies, drafts, and who else is looking."""
