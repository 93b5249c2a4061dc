//! Finds the functions under `#[shuttle_service::main]` in a target's sources, by following its modules. It reads source
//! text only: what macros make, and which `cfg`s hold, is the compiler's to know, so a doubt is decided for deploying.

use std::{
    collections::HashSet,
    fmt, fs,
    path::{Path, PathBuf},
};

use syn::{Attribute, Expr, Item, ItemMod, Lit, Meta, Token, UseTree, punctuated::Punctuated, spanned::Spanned as _};

use super::cargo_path;

const ATTRIBUTE: &str = "main";

/// Where a function stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Place {
    pub(crate) file: String,
    pub(crate) line: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.file, self.line)
    }
}

/// What a target's sources say.
#[derive(Debug, Default)]
pub(crate) struct Found {
    /// Annotated functions that are compiled whatever the `cfg`s are.
    certain: Vec<Place>,
    /// Those under a `cfg`.
    conditional: Vec<Place>,
    /// A file does not parse and has the attribute's text in it: the compiler will tell more.
    unclear: bool,
}

impl Found {
    pub(crate) fn is_annotated(&self) -> bool {
        self.unclear || !self.certain.is_empty() || !self.conditional.is_empty()
    }

    /// Functions of which there is one too many.
    pub(crate) fn too_many(&self) -> Option<&[Place]> {
        (self.certain.len() > 1).then_some(&self.certain)
    }

    pub(crate) fn first(&self) -> Option<&Place> {
        self.certain.first().or(self.conditional.first())
    }
}

/// Walks the modules of the target whose root file this is. `sdk` is the name that the SDK has in this crate; file names
/// are told relative to `base`.
pub(crate) fn annotated(root: &Path, sdk: &str, base: &Path) -> Found {
    let mut walk = Walk { base, sdk, found: Found::default(), seen: HashSet::new() };
    let folder = root.parent().unwrap_or(base);
    walk.file(root, folder, false);
    walk.found.certain.sort();
    walk.found
}

/// The files of the target whose root file this is.
pub(crate) fn sources(root: &Path) -> impl Iterator<Item = PathBuf> {
    let folder = root.parent().unwrap_or(root);
    let mut walk = Walk { base: folder, sdk: "", found: Found::default(), seen: HashSet::new() };
    walk.file(root, folder, false);
    walk.seen.into_iter().map(|file| cargo_path(&file))
}

struct Walk<'a> {
    base: &'a Path,
    sdk: &'a str,
    found: Found,
    seen: HashSet<PathBuf>,
}

/// The names under which the attribute and its crate are known in a file.
#[derive(Debug, Default)]
struct Names {
    attributes: HashSet<String>,
    crates: HashSet<String>,
}

impl Walk<'_> {
    /// A file whose child modules are in `folder`.
    fn file(&mut self, path: &Path, folder: &Path, conditional: bool) {
        // A missing file may be one that is generated or left out by a cfg; a module loop is the compiler's to report.
        let Ok(text) = fs::read_to_string(path) else { return };
        if !self.seen.insert(path.to_owned()) {
            return;
        }
        match syn::parse_file(&text) {
            // `#![cfg(test)]` is `#[cfg(test)]` on the module.
            Ok(file) if is_test(&file.attrs) => {}
            Ok(file) => {
                let mut names = Names { attributes: HashSet::new(), crates: HashSet::from([self.sdk.to_owned()]) };
                collect_names(&file.items, &mut names);
                self.items(&file.items, &names, path, folder, conditional || has_cfg(&file.attrs));
            }
            Err(_) => self.found.unclear |= text.contains(&format!("{}::{ATTRIBUTE}", self.sdk)),
        }
    }

    fn items(&mut self, items: &[Item], names: &Names, path: &Path, folder: &Path, conditional: bool) {
        for item in items {
            match item {
                Item::Fn(function) => {
                    let Some((line, by_cfg)) = function.attrs.iter().find_map(|attribute| annotation(attribute, names)) else {
                        continue;
                    };
                    if is_test(&function.attrs) {
                        continue;
                    }
                    let file = path.strip_prefix(self.base).unwrap_or(path).display().to_string();
                    let place = Place { file, line };
                    if conditional || by_cfg || has_cfg(&function.attrs) {
                        self.found.conditional.push(place);
                    } else {
                        self.found.certain.push(place);
                    }
                }
                Item::Mod(module) if !is_test(&module.attrs) => {
                    self.module(module, names, path, folder, conditional || has_cfg(&module.attrs));
                }
                _ => {}
            }
        }
    }

    fn module(&mut self, module: &ItemMod, names: &Names, path: &Path, folder: &Path, conditional: bool) {
        let name = module.ident.to_string();
        let name = name.trim_start_matches("r#");
        if let Some((_, items)) = &module.content {
            self.items(items, names, path, &folder.join(name), conditional);
            return;
        }
        if let Some(given) = path_attribute(&module.attrs) {
            let file = path.parent().unwrap_or(folder).join(given);
            let folder = file.parent().unwrap_or(folder).to_owned();
            self.file(&file, &folder, conditional);
            return;
        }
        let children = folder.join(name);
        let file = folder.join(format!("{name}.rs"));
        let file = if file.is_file() { file } else { children.join("mod.rs") };
        self.file(&file, &children, conditional);
    }
}

/// The line of the attribute if it is the one, and whether a `cfg_attr` decides on it.
fn annotation(attribute: &Attribute, names: &Names) -> Option<(usize, bool)> {
    let line = attribute.span().start().line;
    if is_annotation(attribute.path(), names) {
        return Some((line, false));
    }
    if !attribute.path().is_ident("cfg_attr") {
        return None;
    }
    let metas = attribute.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    metas.iter().skip(1).any(|meta| is_annotation(meta.path(), names)).then_some((line, true))
}

fn is_annotation(path: &syn::Path, names: &Names) -> bool {
    let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
    match segments.as_slice() {
        [attribute] => names.attributes.contains(attribute),
        [name, attribute] => attribute == ATTRIBUTE && names.crates.contains(name),
        _ => false,
    }
}

fn has_cfg(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| attribute.path().is_ident("cfg"))
}

fn is_test(attributes: &[Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn path_attribute(attributes: &[Attribute]) -> Option<String> {
    attributes.iter().find_map(|attribute| match &attribute.meta {
        Meta::NameValue(pair) if pair.path.is_ident("path") => match &pair.value {
            Expr::Lit(literal) => match &literal.lit {
                Lit::Str(text) => Some(text.value()),
                _ => None,
            },
            _ => None,
        },
        _ => None,
    })
}

/// What `use` and `extern crate` make of the names. Scopes are not kept apart: it is one file, and the names are rare.
fn collect_names(items: &[Item], names: &mut Names) {
    for item in items {
        match item {
            Item::Use(item) => collect_use(&item.tree, &mut Vec::new(), names),
            Item::ExternCrate(item) => {
                if let Some((_, alias)) = &item.rename
                    && names.crates.contains(&item.ident.to_string())
                {
                    names.crates.insert(alias.to_string());
                }
            }
            Item::Mod(module) => {
                if let Some((_, items)) = &module.content {
                    collect_names(items, names);
                }
            }
            _ => {}
        }
    }
}

fn collect_use(tree: &UseTree, path: &mut Vec<String>, names: &mut Names) {
    let mut bind = |path: &[String], last: String, alias: String| match path {
        [] if names.crates.contains(&last) => drop(names.crates.insert(alias)),
        [name] if last == ATTRIBUTE && names.crates.contains(name) => drop(names.attributes.insert(alias)),
        [name] if last == "self" && names.crates.contains(name) => drop(names.crates.insert(alias)),
        _ => {}
    };
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            collect_use(&part.tree, path, names);
            path.pop();
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| collect_use(tree, path, names)),
        UseTree::Name(name) => bind(path, name.ident.to_string(), name.ident.to_string()),
        UseTree::Rename(rename) => bind(path, rename.ident.to_string(), rename.rename.to_string()),
        UseTree::Glob(_) => bind(path, ATTRIBUTE.to_owned(), ATTRIBUTE.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Found {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        annotated(&dir.path().join("src/lib.rs"), "shuttle_service", dir.path())
    }

    fn shown(found: &Found) -> Vec<String> {
        found.certain.iter().map(Place::to_string).collect()
    }

    #[test]
    fn the_attribute_is_found_under_each_of_its_names() {
        for text in [
            "#[shuttle_service::main] async fn app() {}",
            "#[::shuttle_service::main] async fn app() {}",
            "use shuttle_service::main; #[main] async fn app() {}",
            "use shuttle_service::{ShuttleAxum, main as serve}; #[serve] async fn app() {}",
            "use shuttle_service as s; #[s::main] async fn app() {}",
            "use shuttle_service::{self as s}; #[s::main] async fn app() {}",
            "use shuttle_service::*; #[main] async fn app() {}",
            "extern crate shuttle_service as s; #[s::main] async fn app() {}",
            "mod inner { #[shuttle_service::main] pub async fn app() {} }",
        ] {
            assert_eq!(shown(&found(&[("src/lib.rs", text)])), ["src/lib.rs:1"], "{text}");
        }
    }

    #[test]
    fn other_attributes_are_not_it() {
        for text in [
            "#[tokio::main] async fn app() {}",
            "#[main] async fn app() {}",
            "// #[shuttle_service::main]\nfn app() {}",
            "const S: &str = \"#[shuttle_service::main] fn app() {}\";",
            "#[cfg(test)] mod tests { #[shuttle_service::main] async fn app() {} }",
        ] {
            assert!(!found(&[("src/lib.rs", text)]).is_annotated(), "{text}");
        }
    }

    #[test]
    fn modules_are_followed_as_rustc_does() {
        let files = [
            ("src/lib.rs", "mod a; mod b; #[path = \"odd/c.rs\"] mod c; mod inline { mod d; } mod missing;"),
            ("src/a.rs", "mod deep;"),
            ("src/a/deep.rs", "\n#[shuttle_service::main]\nasync fn one() {}"),
            ("src/b/mod.rs", "mod deep;"),
            ("src/b/deep.rs", "#[shuttle_service::main] async fn two() {}"),
            ("src/odd/c.rs", "#[shuttle_service::main] async fn three() {}"),
            ("src/inline/d.rs", "#[shuttle_service::main] async fn four() {}"),
            ("src/stray.rs", "#[shuttle_service::main] async fn not_a_module() {}"),
        ];
        let found = found(&files);
        let expected = ["src/a/deep.rs:2", "src/b/deep.rs:1", "src/inline/d.rs:1", "src/odd/c.rs:1"];
        assert_eq!(shown(&found), expected);
        assert_eq!(found.too_many().unwrap().len(), 4);
    }

    #[test]
    fn functions_under_cfgs_are_left_to_the_compiler() {
        let text = "#[cfg(feature = \"a\")] #[shuttle_service::main] async fn a() {}
                    #[cfg(not(feature = \"a\"))] #[shuttle_service::main] async fn b() {}
                    #[cfg_attr(feature = \"c\", shuttle_service::main)] async fn c() {}";
        let found = found(&[("src/lib.rs", text)]);
        assert_eq!(found.conditional.len(), 3);
        assert!(found.is_annotated() && found.too_many().is_none());
    }

    #[test]
    fn a_files_inner_attributes_count() {
        let found = found(&[
            ("src/lib.rs", "mod a; mod b; mod t; #[shuttle_service::main] async fn app() {}"),
            ("src/a.rs", "#![cfg(feature = \"a\")]\n#[shuttle_service::main] async fn a() {}"),
            ("src/b.rs", "#![allow(unused)]\nmod inner { #![cfg(unix)] #[shuttle_service::main] async fn b() {} }"),
            ("src/t.rs", "#![cfg(test)]\n#[shuttle_service::main] async fn t() {}"),
        ]);
        assert_eq!(shown(&found), ["src/lib.rs:1"]);
        assert_eq!(found.conditional.len(), 2);
    }

    #[test]
    fn a_file_that_does_not_parse_is_left_to_the_compiler() {
        assert!(found(&[("src/lib.rs", "#[shuttle_service::main] async fn app( {")]).is_annotated());
        assert!(!found(&[("src/lib.rs", "async fn app( {")]).is_annotated());
    }
}
