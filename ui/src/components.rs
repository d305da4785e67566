//! The parts the pages are made of.

pub(crate) mod accounting;
pub(crate) mod cell_menu;
pub(crate) mod chart;
pub(crate) mod column_choice;
pub(crate) mod compare;
pub(crate) mod detail;
pub(crate) mod editor;
pub(crate) mod empty;
pub(crate) mod error;
pub(crate) mod filter_bar;
pub(crate) mod grid;
pub(crate) mod heat_map;
pub(crate) mod help;
pub(crate) mod histogram;
pub(crate) mod icon;
pub(crate) mod list;
pub(crate) mod offers;
pub(crate) mod packets;
pub(crate) mod range_choice;
pub(crate) mod record;
pub(crate) mod reference;
pub(crate) mod result;
pub(crate) mod talk;
pub(crate) mod targeting;
pub(crate) mod token;
pub(crate) mod value;
