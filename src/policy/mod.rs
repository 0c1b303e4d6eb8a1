//! Pure: the resources a team writes, compiled into an index that decides.
