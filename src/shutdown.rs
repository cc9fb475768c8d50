//! When to stop: SIGTERM and Ctrl-C, told once to everybody.
