//! The lockfile of a skeleton: what an app's lockfile says of packages, written anew.

use std::collections::{BTreeSet, HashMap};

use toml::{Table, Value};

use super::{APP, VERSION};

/// What a lockfile says of an app's dependencies.
pub(super) struct Lock {
    /// Those from elsewhere, with what pins their content.
    pub(super) packages: BTreeSet<String>,
    /// Names of the packages that were sent along with the app and that it depends on.
    pub(super) libraries: BTreeSet<String>,
    /// The lockfile of the skeleton, in which the app has the skeleton's name for it.
    pub(super) text: String,
}

/// One package of a lockfile.
struct Entry<'a> {
    name: &'a str,
    version: &'a str,
    source: Option<&'a str>,
    checksum: Option<&'a str>,
    /// `name`, `name version` or `name version (source)`.
    dependencies: Vec<&'a str>,
}

impl<'a> Entry<'a> {
    /// `None` where a value is not of the form that cargo writes.
    fn of(entry: &'a Value) -> Option<Self> {
        let text = |key: &str| entry.get(key).and_then(Value::as_str);
        let dependencies = entry.get("dependencies").and_then(Value::as_array).into_iter().flatten().map(Value::as_str);
        let entry = Self {
            name: text("name")?,
            version: text("version")?,
            source: text("source"),
            checksum: text("checksum"),
            dependencies: dependencies.collect::<Option<_>>()?,
        };
        let words = [Some(entry.name), Some(entry.version), entry.source, entry.checksum];
        let plain = words.into_iter().flatten().all(is_word)
            && entry.dependencies.iter().all(|dependency| dependency.split(' ').all(is_word));
        plain.then_some(entry)
    }

    fn table(&self) -> Table {
        let mut table = Table::new();
        for (key, value) in
            [("name", Some(self.name)), ("version", Some(self.version)), ("source", self.source), ("checksum", self.checksum)]
        {
            table.extend(value.map(|value| (key.to_owned(), Value::from(value))));
        }
        if !self.dependencies.is_empty() {
            table.insert("dependencies".into(), Value::from(self.dependencies.clone()));
        }
        table
    }
}

/// Whether this is a name, a version, a URL or a digest: one line without spaces and quotes.
fn is_word(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic() && !matches!(byte, b'"' | b'\'' | b'\\' | b'`'))
}

impl Lock {
    /// `None` where the content of a package is not pinned, or where it is no lockfile that the platform understands.
    pub(super) fn of(lock: &Table, app: &str) -> Option<Self> {
        let entries = |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let (all, unused) = (entries(lock.get("package")), entries(lock.get("patch").and_then(|patch| patch.get("unused"))));
        let mut all: Vec<Entry<'_>> = all.iter().map(Entry::of).collect::<Option<_>>()?;
        let unused: Vec<Entry<'_>> = unused.iter().map(Entry::of).collect::<Option<_>>()?;
        if all.iter().any(|package| package.name == APP) {
            return None;
        }
        let packages = all.iter().filter(|package| package.source.is_some()).map(pinned).collect::<Option<_>>()?;
        let libraries = libraries(&all, app);

        // The app by the skeleton's name.
        let mut sent = all.iter().enumerate().filter(|(_, package)| package.name == app && package.source.is_none());
        let (Some((place, _)), None) = (sent.next(), sent.next()) else { return None };
        let with_version = format!("{app} {}", all[place].version);
        let alone = all.iter().filter(|package| package.name == app).count() == 1;
        for dependency in all.iter_mut().flat_map(|package| &mut package.dependencies) {
            if *dependency == with_version || (alone && *dependency == app) {
                *dependency = APP;
            }
        }
        (all[place].name, all[place].version) = (APP, VERSION);
        // cargo sorts by name: where the app stood would tell its own.
        all.sort_by_key(|package| (package.name, package.version, package.source));
        all.iter_mut().for_each(|package| package.dependencies.sort_unstable());

        let tables = |entries: &[Entry<'_>]| Value::Array(entries.iter().map(|entry| Value::Table(entry.table())).collect());
        let mut written = Table::new();
        if let Some(version) = lock.get("version").and_then(Value::as_integer) {
            written.insert("version".into(), version.into());
        }
        written.insert("package".into(), tables(&all));
        if !unused.is_empty() {
            written.insert("patch".into(), Table::from_iter([("unused".to_owned(), tables(&unused))]).into());
        }
        Some(Self { packages, libraries, text: written.to_string() })
    }
}

/// A package from elsewhere with what pins its content: a registry's checksum, a repository's commit.
fn pinned(package: &Entry<'_>) -> Option<String> {
    let Entry { name, version, source, checksum, .. } = package;
    let source = (*source)?;
    let is_digest = |pin: &&str| pin.len() >= 40 && pin.bytes().all(|byte| byte.is_ascii_hexdigit());
    let commit = || source.strip_prefix("git+")?.split_once('#').map(|(_, commit)| commit);
    let pin = checksum.or_else(commit).filter(is_digest)?;
    Some(format!("{name} {version} {source} {pin}"))
}

/// What the app depends on of what was sent.
fn libraries(all: &[Entry<'_>], app: &str) -> BTreeSet<String> {
    let mut named: HashMap<&str, Vec<&Entry<'_>>> = HashMap::new();
    for package in all {
        named.entry(package.name).or_default().push(package);
    }
    let (mut reached, mut next) = (BTreeSet::new(), vec![app]);
    while let Some(name) = next.pop() {
        for package in named.get(name).into_iter().flatten() {
            // By the name alone too many are found rather than too few.
            let dependencies = package.dependencies.iter().filter_map(|dependency| dependency.split(' ').next());
            next.extend(dependencies.filter(|name| reached.insert((*name).to_owned())));
        }
    }
    let sent = |name: &String| named.get(name.as_str()).is_some_and(|all| all.iter().any(|package| package.source.is_none()));
    reached.into_iter().filter(|name| name != app && sent(name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "0123456789012345678901234567890123456789";

    fn lock(rest: &str) -> Option<Lock> {
        let text = format!("# fn main() {{}}\nversion = 4\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n{rest}");
        Lock::of(&text.parse().unwrap(), "app")
    }

    #[test]
    fn the_place_of_the_app_among_its_dependencies_does_not_count() {
        let package = |name: &str| format!("[[package]]\nname = \"{name}\"\nversion = \"0.1.0\"\n");
        let user = |app: &str, dependencies: [&str; 2]| package("user") + &format!("dependencies = {dependencies:?}\n") + app;
        let first = package("app") + "dependencies = [\"mid\"]\n" + &package("mid") + &user("", ["app", "mid"]);
        let last = package("mid") + &user(&(package("zebra") + "dependencies = [\"mid\"]\n"), ["mid", "zebra"]);
        let text = |lock: &str, app: &str| Lock::of(&lock.parse().unwrap(), app).unwrap().text;
        assert_eq!(text(&first, "app"), text(&last, "zebra"));
    }

    #[test]
    fn it_is_written_from_what_was_understood() {
        let text = lock(&format!(
            "dependencies = [\"a\"]\nnote = \"fn main\"\n[[package]]\nname = \"a\"\nversion = \"1.0.0\"\n
             source = \"git+https://example.com/a#{HASH}\"\n[[package]]\nname = \"test\"\nversion = \"0.1.0\"\ndependencies = [\"app\"]\n
             [metadata]\nx = \"fn main\"\n[[patch.unused]]\nname = \"b\"\nversion = \"1.0.0\"\n"
        ));
        let text = text.unwrap().text;
        assert!(!text.contains("fn main"), "{text}");
        let read: Table = text.parse().unwrap();
        let packages = read["package"].as_array().unwrap();
        let names: Vec<_> = packages.iter().map(|package| package["name"].as_str().unwrap()).collect();
        assert_eq!(names, ["a", APP, "test"]);
        assert_eq!(packages[2]["dependencies"][0].as_str(), Some(APP));
        assert_eq!(read["patch"]["unused"][0]["name"].as_str(), Some("b"));
    }

    #[test]
    fn what_is_not_pinned_or_not_of_cargos_form_is_not_shared() {
        let package = |name: &str, pin: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1.0.0\"\nsource = \"registry+https://example.com/\"\n{pin}\n")
        };
        assert!(lock(&package("a", &format!("checksum = \"{HASH}\""))).is_some());
        for wrong in [
            package("a", ""),
            package("a", "checksum = \"12\""),
            package("a b", &format!("checksum = \"{HASH}\"")),
            package("a", "checksum = '''fn main() {\n}'''"),
            package(APP, &format!("checksum = \"{HASH}\"")),
            "[[package]]\nname = \"a\"\nversion = \"1.0.0\"\nsource = \"git+https://example.com/a?branch=x#main\"\n".into(),
            "[[package]]\nname = \"app\"\nversion = \"0.2.0\"\n".into(),
        ] {
            assert!(lock(&wrong).is_none(), "{wrong}");
        }
    }
}
