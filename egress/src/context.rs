//! What every connection and question needs.

use std::cell::RefCell;
use std::rc::Rc;
use std::str;

use crate::authority::Authority;
use crate::policies::Policies;
use crate::resolve::Resolver;
use crate::settings::Settings;

pub struct Context {
    pub settings: Settings,
    pub policies: Policies,
    pub resolver: Resolver,
    /// There once the server has given one, before any sandbox needs it.
    pub authority: RefCell<Option<Rc<Authority>>>,
}

const AUTHORITY: u8 = b'C';

impl Context {
    pub fn authority(&self) -> Option<Rc<Authority>> {
        self.authority.borrow().clone()
    }

    /// Carries out an order of the server's: `C` with an authority (`authority.rs`), or one about policies (`policies.rs`).
    pub fn order(&self, letter: u8, words: &[u8]) -> Option<Vec<u8>> {
        let text = str::from_utf8(words).ok()?;
        if letter != AUTHORITY {
            return self.policies.order(letter, text);
        }
        let authority = Authority::parse(&mut text.split_ascii_whitespace())?;
        self.authority.replace(Some(Rc::new(authority)));
        Some(Vec::new())
    }
}
