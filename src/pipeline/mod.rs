//! THE list of steps.
