"""Who calls, what they may do, and which ids they may know."""
