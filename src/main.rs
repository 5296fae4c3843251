//! The step: the command line is read, the house does the rest.

use std::process::ExitCode;

/// A third of glibc's resident memory per connection.
#[cfg(all(feature = "jemalloc", target_os = "linux"))]
#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

fn main() -> ExitCode {
    rollcall::cli::run()
}
