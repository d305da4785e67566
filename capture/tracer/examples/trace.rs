//! What the processes of a cgroup say: `cargo run -p tracer --example trace -- /sys/fs/cgroup/NAME [SECONDS]`.
#![allow(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "an example prints, and stops at what is wrong"
)]

use std::time::{Duration, Instant};

use tracer::{Event, Options, Tracer, cgroups_below};

fn main() {
    let mut arguments = std::env::args().skip(1);
    for hook in Tracer::probe().hooks {
        println!("{}: {}", hook.name, hook.missing.as_deref().unwrap_or("there"));
    }
    let Some(cgroup) = arguments.next() else { return };
    let seconds = arguments.next().map_or(10, |it| it.parse().unwrap());
    let started = Instant::now();
    let mut tracer = Tracer::start(&Options::default()).unwrap();
    tracer.targets().set(&cgroups_below(cgroup.as_ref()).unwrap()).unwrap();
    println!("{:?} {:#?}", started.elapsed(), tracer.libraries());
    let until = Instant::now() + Duration::from_secs(seconds);
    while Instant::now() < until {
        tracer.read(Duration::from_millis(100), &mut |event| match event {
            Event::Plaintext(it) => {
                let arrow = if it.sent { "->" } else { "<-" };
                let (who, ends) = (it.process, it.ends);
                println!(
                    "{} {} {:?} {} {arrow} {} at {}: {} bytes {:?}",
                    who.pid,
                    who.comm,
                    it.role,
                    ends.local,
                    ends.remote,
                    it.offset,
                    it.bytes.len(),
                    String::from_utf8_lossy(it.bytes).chars().take(60).collect::<String>(),
                );
            }
            Event::Socket(it) => println!("{it:?}"),
        });
    }
    println!("{:#?}\n{:#?}", tracer.counters(), tracer.libraries());
}
