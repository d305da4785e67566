//! Two calls of the kernel.
#![allow(unsafe_code, reason = "no safe form in the standard library")]

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// Whether `fd` has something to read within `timeout`.
pub(super) fn readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: one valid pollfd for the length of the call; the borrow keeps the descriptor open.
    let ready = unsafe { libc::poll(&raw mut poll, 1, millis) };
    ready > 0
}

/// What to add to the kernel's clock to have nanoseconds since 1970.
pub(super) fn boot_to_epoch() -> i64 {
    to_epoch(libc::CLOCK_MONOTONIC)
}

/// When something began that many hundredths of a second after the machine did, as `/proc` says it of processes.
pub(super) fn since_boot(hundredths: u64) -> i64 {
    let nanos = i64::try_from(hundredths).unwrap_or(i64::MAX).saturating_mul(10_000_000);
    to_epoch(libc::CLOCK_BOOTTIME).saturating_add(nanos)
}

fn to_epoch(clock_of: libc::clockid_t) -> i64 {
    // The second look at the first clock tells how long the one between took; the shortest of three is taken.
    let look = || {
        let (before, now, after) = (clock(clock_of), clock(libc::CLOCK_REALTIME), clock(clock_of));
        (after - before, now - before / 2 - after / 2)
    };
    (0..3).map(|_| look()).min().map_or(0, |it| it.1)
}

fn clock(which: libc::clockid_t) -> i64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: a pointer to a structure of this function. It can't fail for these clocks.
    unsafe { libc::clock_gettime(which, &raw mut time) };
    time.tv_sec * 1_000_000_000 + time.tv_nsec
}
