//! A mix of all faults.
