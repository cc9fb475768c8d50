//! The doors: the route table.
