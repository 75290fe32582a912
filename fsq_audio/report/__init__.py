"""What people look at and listen to: a page of an evaluation, and a listening test."""
