//! What a process asks of the kernel besides packets.

use std::io;

/// Makes the calling thread give way to those that don't call this, and with it those it starts: for
/// work beside a capture, which must not wait. A packet that is not fetched in time is lost, an answer
/// only comes later.
pub fn give_way() {
    // SAFETY: numbers; on Linux, 0 is the calling thread. The kernel bounds the sum.
    let set = unsafe {
        let now = libc::getpriority(libc::PRIO_PROCESS, 0);
        libc::setpriority(libc::PRIO_PROCESS, 0, now + BEHIND)
    };
    if set != 0 {
        let error = io::Error::last_os_error();
        tracing::warn!(%error, "queries have the same priority as capture");
    }
}

/// Raises the bound on open files to what this process may have: a Hub has a socket for every Worker,
/// and shells begin with 1,024. Returns the bound.
pub fn open_many_files() -> u64 {
    let mut bound = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: a pointer to a structure of this function.
    if unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut bound) } != 0 {
        return 0;
    }
    if bound.rlim_cur >= bound.rlim_max {
        return bound.rlim_cur;
    }
    let raised = libc::rlimit { rlim_cur: bound.rlim_max, ..bound };
    // SAFETY: as above.
    let set = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    if set == 0 { raised.rlim_cur } else { bound.rlim_cur }
}

/// The kernel gives such a thread a tenth of the time that another one gets, when both want it, and all of
/// it when nobody else does.
const BEHIND: i32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_thread_that_asked_gives_way() {
        let nice = || {
            let stat = std::fs::read_to_string("/proc/thread-self/stat").unwrap();
            stat.rsplit_once(") ").unwrap().1.split(' ').nth(16).unwrap().parse::<i32>().unwrap()
        };
        let before = nice();
        let (asked, child) = std::thread::spawn(move || {
            give_way();
            (nice(), std::thread::spawn(nice).join().unwrap())
        })
        .join()
        .unwrap();
        let behind = (before + BEHIND).min(19);
        assert_eq!((asked, child), (behind, behind));
        assert_eq!(nice(), before);
    }

    #[test]
    fn as_many_files_are_open_as_may_be() {
        let bound = open_many_files();
        assert!(bound > 0);
        assert_eq!(open_many_files(), bound);
    }
}
