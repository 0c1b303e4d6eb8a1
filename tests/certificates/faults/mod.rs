//! What a workload's certificate goes through when something breaks, one fault by name in each test.

mod answers;
mod authority;
mod clock;
mod disk;
