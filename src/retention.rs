//! What to keep and what to delete, with a reason each.
