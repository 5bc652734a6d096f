//! The allocator is told to give large blocks back: left to itself it keeps the 19 MiB of a password's hash for each
//! thread that ever verified one, and whoever guesses passwords would drive the agent's memory past its bound.

/// Blocks of this size and more are mapped, and unmapped when they are freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES: libc::c_int = 1 << 20;

/// Pools that threads share; by default there are eight for each processor.
#[cfg(target_env = "gnu")]
const POOLS: libc::c_int = 2;

/// Bounds what the allocator keeps. Called before there are threads.
pub(crate) fn bound_allocator() {
    // a threshold that is set is not raised by itself any more
    #[cfg(target_env = "gnu")]
    // SAFETY: no other thread runs yet, and both are parameters that mallopt(3) documents; a refusal changes nothing
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES);
        libc::mallopt(libc::M_ARENA_MAX, POOLS);
    }
}
