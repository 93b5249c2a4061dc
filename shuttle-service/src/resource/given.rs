//! What the platform gave, and where a parameter finds its part of it.

use std::collections::BTreeMap;

use shuttle_abi::ResourceData;

use super::Options;
use crate::Error;

/// What the platform gave an app, besides its sockets.
#[derive(Debug)]
pub(crate) struct Given {
    pub(crate) project: String,
    pub(crate) deployment: String,
    pub(crate) url: String,
    pub(crate) environment: String,
    /// By the name in the manifest.
    pub(crate) resources: BTreeMap<String, ResourceData>,
}

impl Given {
    pub(crate) fn data(&self, name: &str, kind: &str) -> Result<&ResourceData, Error> {
        let data = self.resources.get(name).ok_or_else(|| Error::msg(format!("the platform gave no {kind} for it")))?;
        if data.kind == kind { Ok(data) } else { Err(Error::msg(format!("wants {kind}, the platform gave {}", data.kind))) }
    }
}

/// The place of a parameter, or of a part of one.
#[derive(Debug, Clone, Copy)]
pub struct Slot<'a> {
    given: &'a Given,
    name: &'a str,
    options: &'a Options,
}

impl<'a> Slot<'a> {
    pub(crate) fn new(given: &'a Given, name: &'a str, options: &'a Options) -> Self {
        Self { given, name, options }
    }

    pub(crate) fn options(&self) -> &'a Options {
        self.options
    }

    pub(crate) fn given(&self) -> &'a Given {
        self.given
    }

    pub(crate) fn data(&self, kind: &str) -> Result<&'a ResourceData, Error> {
        self.given.data(self.name, kind)
    }

    /// The place of one part of it, which has no options of its own.
    pub(crate) fn part(&self, index: usize) -> Part<'a> {
        Part { given: self.given, name: format!("{}.{index}", self.name), options: Options::new() }
    }
}

/// A [`Slot`] that owns its name.
pub(crate) struct Part<'a> {
    given: &'a Given,
    name: String,
    options: Options,
}

impl Part<'_> {
    pub(crate) fn slot(&self) -> Slot<'_> {
        Slot { given: self.given, name: &self.name, options: &self.options }
    }
}
