//! A caller may run only so many queries at once: pages that ask much wait their turn here.

use std::{cell::Cell, rc::Rc};

use crate::browser;

/// Room for a number of questions at once.
#[derive(Clone, Debug)]
pub(crate) struct Turnstile {
    running: Rc<Cell<usize>>,
}

/// A place within; it is free again when dropped.
#[derive(Debug)]
pub(crate) struct Pass(Rc<Cell<usize>>);

impl Default for Turnstile {
    fn default() -> Self {
        Self { running: Rc::new(Cell::new(0)) }
    }
}

impl Turnstile {
    /// Waits until there is room.
    pub(crate) async fn enter(&self) -> Pass {
        loop {
            if let Some(pass) = self.try_enter() {
                return pass;
            }
            browser::sleep(WAIT_MS).await;
        }
    }

    fn try_enter(&self) -> Option<Pass> {
        let running = self.running.get();
        (running < MOST).then(|| {
            self.running.set(running + 1);
            Pass(Rc::clone(&self.running))
        })
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        self.0.set(self.0.get().saturating_sub(1));
    }
}

/// Below the Hub's bound of six, so that a person's own question still finds room.
const MOST: usize = 3;
const WAIT_MS: u32 = 30;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn room_is_given_back() {
        let turnstile = Turnstile::default();
        let passes: Vec<_> =
            (0..MOST).map(|_| turnstile.try_enter().expect("there is room")).collect();
        assert!(turnstile.try_enter().is_none());
        drop(passes);
        assert!(turnstile.try_enter().is_some());
    }
}
