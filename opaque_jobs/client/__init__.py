"""What a member's machine does: it asks the coordinator, verifies what it says, shows it, and signs what was shown."""
