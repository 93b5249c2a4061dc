//! The lines of `[dependencies]`: shuttle-service with the features that a package needs.

use std::{fs, ops::Range, path::Path};

use cargo::core::{Package, dependency::DepKind};
use toml_edit::{Document, Item};

use super::{
    super::SDK,
    edits::Edits,
    frameworks::{self, Chosen, There},
    moved, sdk, sisters,
};

/// How shuttle-service gets into the manifest.
pub(super) fn sdk(package: &Package, chosen: &Chosen, base: &Path) -> String {
    let mut lines = Vec::new();
    if chosen.there != There::Yes {
        lines.push(format!("{} = {:?}", chosen.framework.name, chosen.framework.version));
    }
    lines.push(sdk::source().line(&wanted(package, chosen)));
    let path = package.manifest_path();
    let file = path.strip_prefix(base).unwrap_or(path).display().to_string();
    let other = match &chosen.there {
        There::Version(version) => {
            let (name, served) = (chosen.framework.name, chosen.framework.version);
            format!(
                "{name} {version} is not served, {name} {served} is: change that dependency too \
                 (or serve with `shuttle_service::on_tcp`, which takes any framework)\n"
            )
        }
        There::Yes | There::No => String::new(),
    };
    // What is to be replaced is shown with its lines.
    match in_place_of(package, &lines, &file) {
        Some(edits) => format!("{other}change line by line (- goes, + comes)\nin {edits}"),
        None => format!("{other}add to [dependencies] in {file}\n    {}", lines.join("\n    ")),
    }
}

/// The features of shuttle-service that a package which has it still needs, as a change of its line.
pub(super) fn features(package: &Package, chosen: &Chosen, base: &Path) -> Option<String> {
    let feature = chosen.framework.feature;
    let dependency = package.dependencies().iter().find(|one| one.package_name() == SDK && one.kind() == DepKind::Normal)?;
    let has = |name: &str| dependency.features().iter().any(|feature| feature == name);
    let [web, versioned] = [format!("web-{feature}"), format!("{feature}-{}", chosen.framework.version.replace('.', "-"))];
    let mut parts = Vec::new();
    if chosen.there != There::Yes {
        let (name, version) = (chosen.framework.name, chosen.framework.version);
        parts.push(format!("and add to [dependencies] in its Cargo.toml\n    {name} = {version:?}"));
    }
    if ![feature, &web, &versioned].into_iter().any(has) {
        let path = package.manifest_path();
        let file = path.strip_prefix(base).unwrap_or(path).display().to_string();
        let name = dependency.explicit_name_in_toml().map_or(SDK, |name| name.as_str());
        parts.push(match with_feature(path, name, feature, &file) {
            Some(edits) => format!("and change line by line (- goes, + comes)\nin {edits}"),
            None => format!("and add the feature `{feature}` to {SDK} in {file}"),
        });
    }
    (!parts.is_empty()).then(|| parts.join("\n"))
}

/// The framework's feature, those for the clients where the package had a database, and those of then that there are still.
fn wanted(package: &Package, chosen: &Chosen) -> Vec<&'static str> {
    let mut wanted = vec![chosen.framework.feature];
    let sdk = || package.dependencies().iter().filter(|dependency| dependency.package_name() == SDK);
    let is_of_database = |name: &str| name.starts_with("sqlx") || name == "postgres";
    let had_database = sisters(package).iter().any(|(name, _)| ["shuttle-shared-db", "shuttle-aws-rds"].contains(name))
        || sdk().flat_map(|dependency| dependency.features()).any(|feature| is_of_database(feature));
    if had_database {
        wanted.extend(frameworks::client_features(package));
    }
    wanted
}

/// The dependencies on crates of then give their place to these lines.
fn in_place_of(package: &Package, lines: &[String], file: &str) -> Option<Edits> {
    let text = fs::read_to_string(package.manifest_path()).ok()?;
    let document = Document::parse(text.as_str()).ok()?;
    let dependencies = document.get("dependencies")?.as_table_like()?;
    let tables = [moved::CRATES, moved::INNER_CRATES];
    let is_of_then = |name: &str| name == SDK || tables.iter().any(|table| moved::instead(table, name).is_some());
    let package_of = |name: &str, item: &Item| item.get("package").and_then(Item::as_str).unwrap_or(name).to_owned();
    let mut replacements: Vec<_> = dependencies
        .iter()
        .filter(|(name, item)| is_of_then(&package_of(name, item)))
        .filter_map(|(name, _)| Some((entry(&text, dependencies.get_key_value(name)?)?, String::new())))
        .collect();
    replacements.sort_by_key(|(range, _)| range.start);
    replacements.first_mut()?.1 = lines.join("\n");
    Some(Edits::of(file.to_owned(), &text, replacements))
}

/// The dependency with one more feature.
fn with_feature(manifest: &Path, name: &str, feature: &str, file: &str) -> Option<Edits> {
    let text = fs::read_to_string(manifest).ok()?;
    let document = Document::parse(text.as_str()).ok()?;
    let dependencies = document.get("dependencies")?.as_table_like()?;
    let (key, item) = dependencies.get_key_value(name)?;
    let replacement = match item.get("features") {
        Some(features) => {
            let array = features.as_array()?;
            let end = features.span()?.end - 1;
            let comma = if array.is_empty() || array.trailing_comma() { "" } else { ", " };
            (end..end, format!("{comma}{feature:?}"))
        }
        None => match item {
            Item::Value(value) => {
                let end = value.as_inline_table()?.span()?.end - 1;
                let end = text[..end].trim_end().len();
                (end..end, format!(", features = [{feature:?}]"))
            }
            // `shuttle-service.workspace = true`, or a table with a header of its own.
            item => {
                let table = item.as_table()?;
                let range = entry(&text, (key, item))?;
                if table.is_dotted() {
                    (range.end..range.end, format!("\n{name}.features = [{feature:?}]"))
                } else {
                    (range.end..range.end, format!("\nfeatures = [{feature:?}]"))
                }
            }
        },
    };
    Some(Edits::of(file.to_owned(), &text, vec![replacement]))
}

/// Where a dependency stands in the text, with its key.
fn entry(text: &str, (key, item): (&toml_edit::Key, &Item)) -> Option<Range<usize>> {
    let line_start = |at: usize| text[..at].rfind('\n').map_or(0, |at| at + 1);
    let line_end = |at: usize| text[at..].find('\n').map_or(text.len(), |end| at + end);
    match item {
        Item::Value(value) if !value.as_inline_table().is_some_and(toml_edit::InlineTable::is_dotted) => {
            Some(line_start(key.span()?.start)..line_end(value.span()?.end))
        }
        item => {
            // A header or dotted keys: all lines up to the last of its values.
            let table = item.as_table_like()?;
            let ends = table.iter().filter_map(|(_, item)| item.span()).map(|span| span.end);
            let starts = table.iter().filter_map(|(name, _)| table.key(name)?.span()).map(|span| span.start);
            let own = item.span().or_else(|| key.span());
            let start = starts.chain(own.clone().map(|span| span.start)).min()?;
            let end = ends.chain(own.map(|span| span.end)).max()?;
            Some(line_start(start)..line_end(end))
        }
    }
}
