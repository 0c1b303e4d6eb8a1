//! The `hopgate` binary: parse, run, exit code.

fn main() {}
