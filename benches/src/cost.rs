//! What a process costs, read from the kernel just before it is forgotten.

use std::fs;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

/// What a process cost.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cost {
    /// User and system time of all its threads.
    pub(crate) cpu_seconds: f64,
    pub(crate) wall_seconds: f64,
    /// The most memory it had resident.
    pub(crate) peak_bytes: u64,
}

impl Cost {
    /// Runs a command several times, each time as made for that run; the one in the middle by CPU time.
    pub(crate) fn median(runs: u32, mut command: impl FnMut(u32) -> Command) -> Result<Self> {
        let costs = (0..runs.max(1)).map(|run| Self::of(&mut command(run)));
        let mut costs = costs.collect::<Result<Vec<_>>>()?;
        costs.sort_by(|a, b| a.cpu_seconds.total_cmp(&b.cpu_seconds));
        Ok(costs.swap_remove(costs.len() / 2))
    }

    /// Runs a command to its end.
    pub(crate) fn of(command: &mut Command) -> Result<Self> {
        let start = Instant::now();
        let child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let mut child = child.with_context(|| format!("cannot run {command:?}"))?;
        let process = format!("/proc/{}", child.id());
        let mut peak_bytes = 0;
        // A process that has ended but was not waited for still has its times, though no memory.
        let cpu_seconds = loop {
            let stat = fs::read_to_string(format!("{process}/stat"))?;
            let (state, seconds) = times(&stat).context("the kernel's account of a process")?;
            if state == 'Z' {
                break seconds;
            }
            let status = fs::read_to_string(format!("{process}/status")).unwrap_or_default();
            peak_bytes = peak(&status).unwrap_or(peak_bytes).max(peak_bytes);
            std::thread::sleep(Duration::from_millis(5));
        };
        let wall_seconds = start.elapsed().as_secs_f64();
        let status = child.wait()?;
        ensure!(status.success(), "{command:?}: {status}");
        Ok(Self { cpu_seconds, wall_seconds, peak_bytes })
    }
}

/// What a running process has cost so far.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    /// The most it ever had resident.
    pub(crate) peak_bytes: u64,
}

/// What the process of that id has cost so far.
pub(crate) fn usage(id: u32) -> Result<Usage> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat"))?;
    let (_, cpu_seconds) = times(&stat).context("the kernel's account of a process")?;
    let status = fs::read_to_string(format!("/proc/{id}/status"))?;
    let line = |name| memory(&status, name).context("the kernel's account of its memory");
    Ok(Usage { cpu_seconds, resident_bytes: line("VmRSS:")?, peak_bytes: line("VmHWM:")? })
}

/// State, and seconds of CPU time, from `/proc/PID/stat`.
fn times(stat: &str) -> Option<(char, f64)> {
    // The name, in parentheses, may itself hold anything.
    let fields: Vec<_> = stat.rsplit_once(") ")?.1.split(' ').collect();
    let ticks = |at: usize| fields.get(at)?.parse::<u32>().ok();
    // utime, stime, and the same of children that it waited for
    let all = [11, 12, 13, 14].into_iter().map(ticks).sum::<Option<u32>>()?;
    Some((fields.first()?.chars().next()?, f64::from(all) / TICKS))
}

fn peak(status: &str) -> Option<u64> {
    memory(status, "VmHWM:")
}

fn memory(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|it| it.strip_prefix(name))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// `getconf CLK_TCK`; Linux has had no other for user space in decades.
const TICKS: f64 = 100.0;

/// Seconds of CPU time that this process took so far.
pub(crate) fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    times(&stat).map_or(0.0, |it| it.1)
}

/// CPU time that this thread took so far, in nanoseconds: the scheduler's own account, finer than ticks.
pub(crate) fn thread_ns() -> Result<u64> {
    let account = fs::read_to_string("/proc/thread-self/schedstat")?;
    let first = account.split(' ').next().context("the scheduler's account")?;
    Ok(first.parse()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_lines_are_understood() {
        let stat = "12 (a) b (c) Z 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 1 0 1 0 0";
        assert_eq!(times(stat), Some(('Z', 3.0)));
        assert_eq!(peak("VmPeak:\t  9 kB\nVmHWM:\t  2048 kB\n"), Some(2 << 20));
    }

    #[test]
    fn work_is_measured() {
        let cost = Cost::of(
            Command::new("sh").args(["-c", "i=0; while [ $i -lt 300000 ]; do i=$((i+1)); done"]),
        );
        let cost = cost.unwrap();
        assert!(cost.cpu_seconds > 0.0 && cost.cpu_seconds <= cost.wall_seconds + 0.1, "{cost:?}");
        assert!(Cost::of(&mut Command::new("false")).is_err());
    }
}
