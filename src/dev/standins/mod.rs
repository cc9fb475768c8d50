//! Stand-ins for every upstream whose settings are absent. They speak the real protocols on loopback.
