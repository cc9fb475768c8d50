//! Composition root: the only place where real clients are built.
