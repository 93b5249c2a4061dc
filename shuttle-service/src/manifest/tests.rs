//! What is written is what is read, and what the published schema says.

use std::collections::BTreeSet;

use serde_json::{Value, json};
use shuttle_abi::Settings;

use super::*;
use crate::{Metadata, Parameter, PersistDir, Postgres, Redis, SecretStore, resource::OptionValue};

const SCHEMA: &str = include_str!("../../../docs/manifest.schema.json");

const POSTGRES: Needs = Needs::One { kind: "postgres", options: &["name", "extensions"] };
const OPTIONS: &[OptionEntry] = &[
    OptionEntry { name: "name", value: OptionValue::Text("b") },
    OptionEntry { name: "max_connections", value: OptionValue::Number(-3) },
    OptionEntry { name: "extensions", value: OptionValue::List(&["pgcrypto", "citext"]) },
    OptionEntry { name: "url", value: OptionValue::Text("https://{secrets.KEY}@x") },
];
const SERVICE: ServiceInfo = ServiceInfo { framework: "axum", kind: Kind::Http, listen: Listen::Unix };

#[test]
fn the_reader_reads_what_is_written() {
    const MANIFEST: Manifest = Manifest {
        crate_name: "my_app",
        service: SERVICE,
        settings: SettingsInfo {
            always_on: Some(true),
            memory_bytes: Some(256 << 20),
            health_path: Some("/ok"),
            ..SettingsInfo::DEFAULT
        },
        params: &[
            ParamInfo { name: "pool", needs: POSTGRES, options: &[] },
            ParamInfo { name: "größe", needs: POSTGRES, options: OPTIONS },
            ParamInfo { name: "all", needs: Needs::All(&[POSTGRES, Needs::All(&[POSTGRES])]), options: OPTIONS },
        ],
    };
    static RECORD: [u8; MANIFEST.record_len()] = MANIFEST.record();

    let read = shuttle_abi::Manifest::parse_section(&RECORD).unwrap();
    let [read] = read.as_slice() else { panic!("{read:?}") };
    assert_eq!((read.crate_name.as_str(), read.sdk.as_str()), ("my_app", env!("CARGO_PKG_VERSION")));
    assert_eq!((read.service.framework.as_str(), read.service.listen), ("axum", Listen::Unix));
    let names: Vec<_> = read.resources.iter().map(|r| r.name.as_str()).collect();
    assert_eq!(names, ["pool", "größe", "größe.secrets", "all.0", "all.1.0", "all.secrets"]);
    let options: Vec<_> = read.resources.iter().map(|r| serde_json::to_string(&r.options).unwrap()).collect();
    let honoured = r#"{"name":"b","extensions":["pgcrypto","citext"]}"#;
    let honoured = serde_json::from_str::<Value>(honoured).unwrap().to_string();
    assert_eq!(options, ["{}", &honoured, "{}", "{}", "{}", "{}"]);
    let settings = &read.service.settings;
    assert_eq!((settings.always_on, settings.memory_bytes, settings.instances), (Some(true), Some(256 << 20), None));
    assert_eq!(settings.health_path.as_deref(), Some("/ok"));
}

#[test]
fn strings_are_escaped() {
    const NAME: &str = "a\"b\\c\u{1}\n\u{1f}é";
    const MANIFEST: Manifest = Manifest { crate_name: NAME, service: SERVICE, settings: SettingsInfo::DEFAULT, params: &[] };
    static RECORD: [u8; MANIFEST.record_len()] = MANIFEST.record();

    assert_eq!(shuttle_abi::Manifest::parse_section(&RECORD).unwrap()[0].crate_name, NAME);
}

#[test]
fn each_way_to_listen_is_read_back() {
    for listen in [Listen::Unix, Listen::Tcp, Listen::Own, Listen::None] {
        let mut writer = Writer::<1024>::new();
        let service = ServiceInfo { listen, ..SERVICE };
        Manifest { crate_name: "a", service, settings: SettingsInfo::DEFAULT, params: &[] }.json(&mut writer);
        let read: shuttle_abi::Manifest = serde_json::from_str(writer.text()).unwrap();
        assert_eq!(read.service.listen, listen);
    }
}

/// What a manifest of these is, as JSON.
fn written(service: ServiceInfo, settings: SettingsInfo, params: &'static [ParamInfo]) -> Value {
    let mut writer = Writer::<4096>::new();
    Manifest { crate_name: "a", service, settings, params }.json(&mut writer);
    serde_json::from_str(writer.text()).unwrap()
}

fn schema() -> (Value, jsonschema::Validator) {
    let schema: Value = serde_json::from_str(SCHEMA).unwrap();
    let validator = jsonschema::draft202012::new(&schema).unwrap();
    (schema, validator)
}

/// Every plain type with every option that the platform honours.
const PLAIN: &[ParamInfo] = &[
    ParamInfo {
        name: "a",
        needs: <Postgres as Parameter>::NEEDS,
        options: &[
            OptionEntry { name: "name", value: OptionValue::Text("analytics") },
            OptionEntry { name: "extensions", value: OptionValue::List(&["pgcrypto", "uuid-ossp"]) },
            OptionEntry { name: "migrations", value: OptionValue::Text("{secrets.FOLDER}") },
        ],
    },
    ParamInfo {
        name: "b",
        needs: <Redis as Parameter>::NEEDS,
        options: &[OptionEntry { name: "name", value: OptionValue::Text("cache") }],
    },
    ParamInfo {
        name: "c",
        needs: <SecretStore as Parameter>::NEEDS,
        options: &[OptionEntry { name: "required", value: OptionValue::List(&["API_KEY"]) }],
    },
    ParamInfo { name: "d", needs: <PersistDir as Parameter>::NEEDS, options: &[] },
    ParamInfo { name: "e", needs: <Metadata as Parameter>::NEEDS, options: &[] },
    ParamInfo { name: "f", needs: <(Postgres, (Redis, SecretStore)) as Parameter>::NEEDS, options: OPTIONS },
];
const SETTINGS: SettingsInfo = SettingsInfo {
    idle_timeout_s: Some(600),
    always_on: Some(false),
    health_path: Some("/healthz?full=1"),
    memory_bytes: Some(256 << 20),
    instances: Some(2),
};

#[test]
fn what_is_written_is_what_the_schema_says() {
    let (_, validator) = schema();
    let background = ServiceInfo { framework: "background", kind: Kind::Background, listen: Listen::None };
    for (service, settings, params) in [
        (SERVICE, SettingsInfo::DEFAULT, &[] as &'static [ParamInfo]),
        (SERVICE, SETTINGS, PLAIN),
        (background, SettingsInfo { instances: Some(1), ..SettingsInfo::DEFAULT }, PLAIN),
    ] {
        let manifest = written(service, settings, params);
        let errors: Vec<_> = validator.iter_errors(&manifest).map(|error| error.to_string()).collect();
        assert_eq!(errors, [""; 0], "{manifest:#}");
    }
}

#[test]
fn the_schema_refuses_what_is_out_of_its_ranges() {
    let (_, validator) = schema();
    let good = written(SERVICE, SETTINGS, PLAIN);
    for (pointer, wrong) in [
        ("/manifest", json!(1)),
        ("/service/kind", json!("cron")),
        ("/service/kind", json!("background")),
        ("/service/listen", json!("udp")),
        ("/service/settings/idle_timeout_s", json!(0)),
        ("/service/settings/always_on", json!(true)),
        ("/service/settings/health_path", json!("/a b")),
        ("/service/settings/memory_bytes", json!(1)),
        ("/service/settings/instances", json!(65)),
        ("/resources/0/type", json!("mysql")),
        ("/resources/0/options/name", json!("1; DROP")),
        ("/resources/0/options/extensions", json!(["a", "a"])),
        ("/resources/2/name", json!("")),
        ("/resources/3/type", json!("persist")),
    ] {
        let mut manifest = good.clone();
        *manifest.pointer_mut(pointer).unwrap_or_else(|| panic!("no {pointer} in {good:#}")) = wrong.clone();
        assert!(!validator.is_valid(&manifest), "{pointer}: {wrong}");
    }
}

#[test]
fn the_schema_names_what_the_abi_has() {
    let (schema, _) = schema();
    let service = &schema["$defs"]["service"]["properties"];
    // A variant that is added to one of these breaks the build here.
    let kinds = [Kind::Http, Kind::Background].map(|kind| match kind {
        Kind::Http | Kind::Background => json!(kind),
    });
    let listens = [Listen::Unix, Listen::Tcp, Listen::Own, Listen::None].map(|listen| match listen {
        Listen::Unix | Listen::Tcp | Listen::Own | Listen::None => json!(listen),
    });
    assert_eq!(service["kind"]["enum"], json!(kinds));
    assert_eq!(service["listen"]["enum"], json!(listens));
    assert_eq!(schema["properties"]["manifest"]["const"], json!(MANIFEST_VERSION));

    let names = |value: &Value| value.as_object().unwrap().keys().cloned().collect::<BTreeSet<_>>();
    assert_eq!(names(&schema["$defs"]["settings"]["properties"]), names(&json!(Settings::default())));
    assert_eq!(names(&written(SERVICE, SETTINGS, PLAIN)["service"]["settings"]), names(&json!(Settings::default())));
}
