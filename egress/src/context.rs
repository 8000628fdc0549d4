//! What every connection and question needs.

use crate::policies::Policies;
use crate::resolve::Resolver;
use crate::settings::Settings;

pub struct Context {
    pub settings: Settings,
    pub policies: Policies,
    pub resolver: Resolver,
}
