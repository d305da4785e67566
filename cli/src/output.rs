//! Where results go: standard output or a file.

use std::fs::File;
use std::io::{self, BufWriter, ErrorKind, IsTerminal, LineWriter, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::{Context, Result};

/// A buffered destination of results.
pub(crate) type Output = BufWriter<Watched>;

/// Standard output.
pub(crate) fn stdout() -> Output {
    BufWriter::with_capacity(BUFFER_BYTES, Watched(Box::new(io::stdout())))
}

/// Standard output, line by line.
pub(crate) fn lines() -> LineWriter<Watched> {
    LineWriter::with_capacity(BUFFER_BYTES, Watched(Box::new(io::stdout())))
}

/// The file, made anew; `-` is standard output.
pub(crate) fn open(path: Option<&Path>) -> Result<Output> {
    match path {
        None => Ok(stdout()),
        Some(path) if path.as_os_str() == "-" => Ok(stdout()),
        Some(path) => {
            let file =
                File::create(path).with_context(|| format!("can't write {}", path.display()))?;
            Ok(BufWriter::with_capacity(BUFFER_BYTES, Watched(Box::new(file))))
        }
    }
}

/// Whether whoever read the results has stopped reading, as `head` does: no failure, there is only nobody left to
/// write for. Asked once, by `main`; what lies between may wrap the error as it likes.
pub(crate) fn reader_is_gone() -> bool {
    READER_GONE.load(Ordering::Relaxed)
}

/// The columns of the terminal that standard output is, if it is one.
pub(crate) fn width() -> Option<usize> {
    if !io::stdout().is_terminal() {
        return None;
    }
    terminal_size::terminal_size().map(|(width, _)| usize::from(width.0))
}

/// Notices when nobody reads any more.
pub(crate) struct Watched(Box<dyn Write + Send>);

impl Watched {
    fn seen<T>(result: io::Result<T>) -> io::Result<T> {
        if result.as_ref().is_err_and(|why| why.kind() == ErrorKind::BrokenPipe) {
            READER_GONE.store(true, Ordering::Relaxed);
        }
        result
    }
}

impl Write for Watched {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Self::seen(self.0.write(bytes))
    }

    fn flush(&mut self) -> io::Result<()> {
        Self::seen(self.0.flush())
    }
}

static READER_GONE: AtomicBool = AtomicBool::new(false);
/// Rows are short; a pipe takes this much at once.
const BUFFER_BYTES: usize = 64 << 10;
