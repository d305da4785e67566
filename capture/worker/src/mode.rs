//! When packets are dissected: chosen at run time, remembered in the store's folder.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU8, Ordering::Relaxed},
};

use api::Dissection;

use crate::Error;

/// The mode now.
#[derive(Debug)]
pub(crate) struct Modes {
    now: AtomicU8,
    /// Where it is remembered, if the store stays.
    path: Option<PathBuf>,
}

impl Modes {
    /// The mode asked for, else the one remembered in `folder`, else live.
    pub(crate) fn open(folder: Option<&Path>, wanted: Option<Dissection>) -> Result<Self, Error> {
        let path = folder.map(|it| it.join(FILE));
        let remembered = path.as_ref().and_then(|it| std::fs::read_to_string(it).ok());
        let remembered = remembered.and_then(|it| it.parse::<Dissection>().ok());
        let modes = Self { now: AtomicU8::new(0), path };
        modes.now.store(number(remembered.unwrap_or_default()), Relaxed);
        if let Some(wanted) = wanted {
            modes.set(wanted)?;
        }
        Ok(modes)
    }

    pub(crate) fn now(&self) -> Dissection {
        let now = self.now.load(Relaxed);
        Dissection::ALL.into_iter().find(|it| number(*it) == now).unwrap_or_default()
    }

    /// Changes it, once it is remembered.
    pub(crate) fn set(&self, mode: Dissection) -> Result<(), Error> {
        if let Some(path) = &self.path {
            let temporary = path.with_extension("tmp");
            let written = std::fs::write(&temporary, format!("{mode}\n"))
                .and_then(|()| std::fs::rename(&temporary, path));
            written.map_err(|source| Error::Mode { path: path.clone(), source })?;
        }
        self.now.store(number(mode), Relaxed);
        Ok(())
    }
}

fn number(mode: Dissection) -> u8 {
    match mode {
        Dissection::Live => 0,
        Dissection::OnDemand => 1,
        Dissection::Off => 2,
    }
}

/// The file in the store's folder.
const FILE: &str = "dissection";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mode_outlives_the_process_and_a_flag_changes_it() {
        let dir = tempfile::tempdir().unwrap();
        let open = |wanted| Modes::open(Some(dir.path()), wanted).unwrap();
        assert_eq!(open(None).now(), Dissection::Live);
        open(Some(Dissection::OnDemand));
        assert_eq!(open(None).now(), Dissection::OnDemand);
        open(None).set(Dissection::Off).unwrap();
        assert_eq!(open(None).now(), Dissection::Off);
        std::fs::write(dir.path().join(FILE), "nonsense").unwrap();
        assert_eq!(open(None).now(), Dissection::Live);
        assert_eq!(Modes::open(None, Some(Dissection::Off)).unwrap().now(), Dissection::Off);
    }
}
