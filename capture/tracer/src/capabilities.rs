//! What this kernel, and this process, can trace.

/// Each hook, and what is missing for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Capabilities {
    /// All of them.
    pub hooks: Vec<Hook>,
}

/// A place in the kernel where a program of ours can run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hook {
    /// The kernel's name of it.
    pub name: &'static str,
    /// What it is for.
    pub purpose: Purpose,
    /// Why it can't be used, and what would help; `None` if it can.
    pub missing: Option<String>,
}

/// What a hook is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// Everything.
    All,
    /// Reading what processes give to TLS libraries, and get from them.
    Plaintext,
    /// Telling which process a connection belongs to.
    Sockets,
    /// Noticing at once that a program starts; without it, within a second.
    Starts,
}

impl Capabilities {
    /// Why there is no plaintext to be had; `None` if there is.
    #[must_use]
    pub fn no_plaintext(&self) -> Option<&str> {
        // Without its socket, plaintext has no place.
        self.first(&[Purpose::All, Purpose::Plaintext])
    }

    /// Why connections can't be given processes; `None` if they can.
    #[must_use]
    pub fn no_sockets(&self) -> Option<&str> {
        self.first(&[Purpose::All, Purpose::Sockets])
    }

    fn first(&self, purposes: &[Purpose]) -> Option<&str> {
        let mut needed = self.hooks.iter().filter(|it| purposes.contains(&it.purpose));
        needed.find_map(|it| it.missing.as_deref())
    }
}
