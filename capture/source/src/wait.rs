//! Waiting for a descriptor, with a bound.

use std::{
    os::fd::{AsRawFd, BorrowedFd},
    time::Duration,
};

/// Whether `fd` has something to read (or an error to report) within `timeout`. An interrupted wait counts as
/// nothing to read: the caller has a clock to look at anyway.
pub(crate) fn readable(fd: BorrowedFd<'_>, timeout: Duration) -> bool {
    let mut poll = libc::pollfd { fd: fd.as_raw_fd(), events: libc::POLLIN, revents: 0 };
    let millis = i32::try_from(timeout.as_millis()).unwrap_or(i32::MAX);
    // SAFETY: `poll` is one valid pollfd for the length of the call, and the borrow keeps the descriptor open.
    let ready = unsafe { libc::poll(&raw mut poll, 1, millis) };
    ready > 0
}
