//! The manifest, written at compile time: a record of the ELF section, laid out as [`shuttle_abi::manifest`] reads it.
//!
//! Everything here is `const`: an app's section is there without running anything of it.

#[cfg(test)]
mod tests;
mod writer;

use shuttle_abi::{Kind, Listen, MANIFEST_VERSION, RECORD_MAGIC};

pub(crate) use self::writer::{List, Writer};
use crate::resource::{Needs, OptionEntry, contains};

/// What the manifest says of the service.
#[derive(Debug, Clone, Copy)]
pub struct ServiceInfo {
    pub(crate) framework: &'static str,
    pub(crate) kind: Kind,
    pub(crate) listen: Listen,
}

/// What the annotation's arguments ask for; see [`shuttle_abi::Settings`].
#[derive(Debug, Clone, Copy)]
pub struct SettingsInfo {
    pub idle_timeout_s: Option<u64>,
    pub always_on: Option<bool>,
    pub health_path: Option<&'static str>,
    pub memory_bytes: Option<u64>,
    pub instances: Option<u32>,
}

impl SettingsInfo {
    /// Nothing is asked for.
    pub const DEFAULT: Self =
        Self { idle_timeout_s: None, always_on: None, health_path: None, memory_bytes: None, instances: None };
}

/// What the manifest says of a parameter.
#[derive(Debug, Clone, Copy)]
pub struct ParamInfo {
    pub(crate) name: &'static str,
    pub(crate) needs: Needs,
    pub(crate) options: &'static [OptionEntry],
}

impl ParamInfo {
    /// Whether a `{secrets.NAME}` stands in one of its options.
    pub(crate) const fn options_refer_to_secrets(&self) -> bool {
        let mut i = 0;
        while i < self.options.len() {
            if self.options[i].value.refers_to_secrets() {
                return true;
            }
            i += 1;
        }
        false
    }
}

/// What a manifest is made of.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    pub crate_name: &'static str,
    pub service: ServiceInfo,
    pub settings: SettingsInfo,
    pub params: &'static [ParamInfo],
}

impl Manifest {
    /// Length of the record in bytes.
    #[must_use]
    pub const fn record_len(&self) -> usize {
        HEAD + self.json_len()
    }

    /// The record; `N` is [`record_len`](Self::record_len).
    #[must_use]
    pub const fn record<const N: usize>(&self) -> [u8; N] {
        let mut writer = Writer::<N>::new();
        writer.bytes(&RECORD_MAGIC);
        writer.bytes(&(self.json_len() as u32).to_le_bytes());
        self.json(&mut writer);
        writer.whole()
    }

    const fn json_len(&self) -> usize {
        let mut counter = Writer::<0>::new();
        self.json(&mut counter);
        counter.len()
    }

    const fn json<const N: usize>(&self, to: &mut Writer<N>) {
        const { assert!(MANIFEST_VERSION == 2) };
        to.raw(r#"{"manifest":2,"sdk":"#);
        to.string(crate::VERSION);
        to.raw(r#","crate":"#);
        to.string(self.crate_name);
        to.raw(r#","service":{"framework":"#);
        to.string(self.service.framework);
        to.raw(r#","kind":"#);
        to.string(match self.service.kind {
            Kind::Http => "http",
            Kind::Background => "background",
        });
        to.raw(r#","listen":"#);
        to.string(match self.service.listen {
            Listen::Unix => "unix",
            Listen::Tcp => "tcp",
            Listen::Own => "own",
            Listen::None => "none",
        });
        to.raw(r#","settings":{"#);
        self.settings.json(to);
        to.raw(r#"}},"resources":["#);
        let mut list = List::new();
        let mut i = 0;
        while i < self.params.len() {
            let param = &self.params[i];
            list = resources(to, list, param, &param.needs, Path::of(param.name));
            if param.options_refer_to_secrets() {
                list = list.next(to);
                to.raw(r#"{"name":""#);
                to.escaped(param.name);
                to.raw(r#".secrets","type":"secrets","options":{}}"#);
            }
            i += 1;
        }
        to.raw("]}");
    }
}

impl SettingsInfo {
    const fn json<const N: usize>(&self, to: &mut Writer<N>) {
        let mut list = List::new();
        if let Some(seconds) = self.idle_timeout_s {
            list = list.next(to);
            to.raw(r#""idle_timeout_s":"#);
            to.number(seconds);
        }
        if let Some(always_on) = self.always_on {
            list = list.next(to);
            to.raw(if always_on { r#""always_on":true"# } else { r#""always_on":false"# });
        }
        if let Some(path) = self.health_path {
            list = list.next(to);
            to.raw(r#""health_path":"#);
            to.string(path);
        }
        if let Some(bytes) = self.memory_bytes {
            list = list.next(to);
            to.raw(r#""memory_bytes":"#);
            to.number(bytes);
        }
        if let Some(instances) = self.instances {
            list.next(to);
            to.raw(r#""instances":"#);
            to.number(instances as u64);
        }
    }
}

/// The name of a parameter or of a part in it. Const code has no heap: the places are kept in an array.
#[derive(Clone, Copy)]
struct Path {
    name: &'static str,
    parts: [usize; MAX_DEPTH],
    depth: usize,
}

/// How deep resources may be made of resources of resources.
const MAX_DEPTH: usize = 8;

impl Path {
    const fn of(name: &'static str) -> Self {
        Self { name, parts: [0; MAX_DEPTH], depth: 0 }
    }

    const fn part(mut self, index: usize) -> Self {
        assert!(self.depth < MAX_DEPTH, "a resource is made of resources, of resources, … more than eight times");
        self.parts[self.depth] = index;
        self.depth += 1;
        self
    }

    const fn write<const N: usize>(&self, to: &mut Writer<N>) {
        to.byte(b'"');
        to.escaped(self.name);
        let mut i = 0;
        while i < self.depth {
            to.byte(b'.');
            to.number(self.parts[i] as u64);
            i += 1;
        }
        to.byte(b'"');
    }
}

/// The entries of a parameter: one for each plain resource that it is made of.
const fn resources<const N: usize>(to: &mut Writer<N>, list: List, param: &ParamInfo, needs: &Needs, path: Path) -> List {
    match needs {
        Needs::One { kind, options } => {
            let list = list.next(to);
            to.raw(r#"{"name":"#);
            path.write(to);
            to.raw(r#","type":"#);
            to.string(kind);
            to.raw(r#","options":{"#);
            // A part of several has no options of its own.
            if path.depth == 0 {
                platform_options(to, param.options, options);
            }
            to.raw("}}");
            list
        }
        Needs::All(parts) => {
            let mut list = list;
            let mut i = 0;
            while i < parts.len() {
                list = resources(to, list, param, &parts[i], path.part(i));
                i += 1;
            }
            list
        }
    }
}

/// Those options that are the platform's to honour.
const fn platform_options<const N: usize>(to: &mut Writer<N>, options: &[OptionEntry], platform: &[&str]) {
    let mut list = List::new();
    let mut i = 0;
    while i < options.len() {
        let option = &options[i];
        if contains(platform, option.name) {
            list = list.next(to);
            to.string(option.name);
            to.byte(b':');
            to.value(&option.value);
        }
        i += 1;
    }
}

/// Length of what stands before the JSON: the magic, and a `u32`.
const HEAD: usize = RECORD_MAGIC.len() + 4;
