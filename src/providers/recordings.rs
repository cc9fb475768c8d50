//! Downloads recordings from hosts that nobody has to trust.
