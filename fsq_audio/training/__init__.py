"""What the training recipes share: data, losses, state, tracking."""
