"""What no business can switch off or talk over: checks of what comes in and of what goes out, each on record."""
