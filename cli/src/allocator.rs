//! Where memory comes from, and how soon it goes back.
#![allow(unsafe_code, reason = "the allocator takes its settings by a call of C")]

/// Short-lived row batches of many sizes on many threads: what mimalloc is good at.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Runs before anything is allocated: the first arena already is to have these settings. Left to
/// itself mimalloc keeps a gigabyte of address space committed and gives memory back after a second;
/// reading a large capture and then asking it took half as much memory again as it needed.
#[cfg(target_os = "linux")]
#[used]
#[unsafe(link_section = ".init_array")]
static SETTINGS: extern "C" fn() = {
    extern "C" fn settings() {
        // SAFETY: sets two numbers in a static table, before there is another thread.
        unsafe {
            libmimalloc_sys::mi_option_set(ARENA_EAGER_COMMIT, 0);
            libmimalloc_sys::mi_option_set(PURGE_DELAY, PURGE_DELAY_MS);
        }
    }
    settings
};

/// What is free for this long goes back to the system. Less costs more page faults, more costs
/// memory: measured with a capture of 1.5 GB, 0 to 1,000.
#[cfg(target_os = "linux")]
const PURGE_DELAY_MS: std::ffi::c_long = 20;

/// `mi_option_arena_eager_commit` and `mi_option_purge_delay` of mimalloc 3; the crate names neither.
#[cfg(target_os = "linux")]
const ARENA_EAGER_COMMIT: libmimalloc_sys::mi_option_t = 4;
#[cfg(target_os = "linux")]
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;
