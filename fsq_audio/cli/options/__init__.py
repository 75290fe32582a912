"""What can be typed after each verb: one file a verb, and what they share."""
