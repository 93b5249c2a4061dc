//! What a parameter needs of the platform and which options it knows, as constants: the manifest is made of them.

/// What the platform has to provide for a parameter.
#[derive(Debug, Clone, Copy)]
pub enum Needs {
    /// One plain resource, and those options of the parameter that the platform honours.
    One { kind: &'static str, options: &'static [&'static str] },
    /// Several, each under the place it has in here.
    All(&'static [Self]),
}

impl Needs {
    /// Whether a plain resource of this type is among them.
    pub(crate) const fn has(&self, wanted: &str) -> bool {
        match self {
            Self::One { kind, .. } => same(kind, wanted),
            Self::All(parts) => {
                let mut i = 0;
                while i < parts.len() {
                    if parts[i].has(wanted) {
                        return true;
                    }
                    i += 1;
                }
                false
            }
        }
    }
}

/// The options that a parameter knows: its own, and those of what it is made from.
#[derive(Debug, Clone, Copy)]
pub struct Accepts {
    pub(crate) own: &'static [&'static str],
    pub(crate) rest: Option<&'static Self>,
}

impl Accepts {
    pub(crate) const NONE: Self = Self { own: &[], rest: None };

    pub(crate) const fn knows(&self, option: &str) -> bool {
        contains(self.own, option)
            || match self.rest {
                Some(rest) => rest.knows(option),
                None => false,
            }
    }
}

pub(crate) const fn contains(names: &[&str], wanted: &str) -> bool {
    let mut i = 0;
    while i < names.len() {
        if same(names[i], wanted) {
            return true;
        }
        i += 1;
    }
    false
}

/// `==` of strings is not `const` yet.
pub(crate) const fn same(a: &str, b: &str) -> bool {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    if a.len() != b.len() {
        return false;
    }
    let mut i = 0;
    while i < a.len() {
        if a[i] != b[i] {
            return false;
        }
        i += 1;
    }
    true
}
