//! What this server does of what an app's annotation asks for. The one place that decides it: whatever is not honoured is
//! refused here, with what to do about it.

use shuttle_abi::{Kind, Listen, ServiceManifest};

/// Longest health path, in bytes.
const MAX_PATH: usize = 1024;

/// A setting that cannot be honoured.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Refused {
    message: String,
    pub(crate) hint: String,
}

/// Refuses what this server cannot do.
pub(crate) fn check(service: &ServiceManifest) -> Result<(), Refused> {
    let settings = &service.settings;
    let background = service.kind == Kind::Background;
    if background != (service.listen == Listen::None) {
        return refuse("the manifest is malformed: a background service listens on nothing, and any other on something");
    }
    if settings.idle_timeout_s.is_some() {
        return cannot("idle_timeout", "put an app to sleep: every app always runs");
    }
    if settings.always_on == Some(false) {
        return cannot("always_on = false", "put an app to sleep: every app always runs");
    }
    if settings.memory_bytes.is_some() {
        return cannot("memory", "limit the memory of an app");
    }
    if let Some(instances) = settings.instances
        && instances != 1
    {
        return cannot(&format!("instances = {instances}"), "run another number of instances of an app than one");
    }
    match &settings.health_path {
        Some(_) if background => Err(Refused {
            message: "the app sets `health_path`, and a background service answers no requests".into(),
            hint: "remove the setting from #[shuttle_service::main(…)]".into(),
        }),
        Some(path) if !is_path(path) => Err(Refused {
            message: "the app's `health_path` is no path that can be asked for".into(),
            hint: format!("it must begin with `/` and be at most {MAX_PATH} printable ASCII characters without spaces or `#`"),
        }),
        _ => Ok(()),
    }
}

fn cannot<T>(setting: &str, what: &str) -> Result<T, Refused> {
    Err(Refused {
        message: format!("the app sets `{setting}`, and this server cannot {what} yet"),
        hint: "remove the setting from #[shuttle_service::main(…)]".into(),
    })
}

fn refuse<T>(message: &str) -> Result<T, Refused> {
    Err(Refused { message: message.into(), hint: "update shuttle-service and deploy again".into() })
}

/// It becomes a part of a request as it stands.
fn is_path(path: &str) -> bool {
    path.starts_with('/') && path.len() <= MAX_PATH && path.bytes().all(|byte| byte.is_ascii_graphic() && byte != b'#')
}

#[cfg(test)]
mod tests {
    use shuttle_abi::Settings;

    use super::*;

    fn service(settings: Settings) -> ServiceManifest {
        ServiceManifest { framework: "axum".into(), kind: Kind::Http, listen: Listen::Unix, settings }
    }

    #[test]
    fn what_is_so_anyway_is_honoured() {
        let settings = Settings {
            always_on: Some(true),
            instances: Some(1),
            health_path: Some("/health?deep=1&x=%20".into()),
            ..Settings::default()
        };
        assert_eq!(check(&service(settings.clone())), Ok(()));
        assert_eq!(check(&service(Settings::default())), Ok(()));
        let background = Settings { health_path: None, ..settings };
        assert_eq!(check(&ServiceManifest { kind: Kind::Background, listen: Listen::None, ..service(background) }), Ok(()));
    }

    #[test]
    fn what_cannot_be_done_is_refused_by_its_name() {
        for (settings, words) in [
            (Settings { idle_timeout_s: Some(60), ..Settings::default() }, "`idle_timeout`"),
            (Settings { always_on: Some(false), ..Settings::default() }, "`always_on = false`"),
            (Settings { memory_bytes: Some(1), ..Settings::default() }, "`memory`"),
            (Settings { instances: Some(2), ..Settings::default() }, "`instances = 2`"),
            (Settings { instances: Some(0), ..Settings::default() }, "`instances = 0`"),
        ] {
            let refused = check(&service(settings)).unwrap_err();
            assert!(refused.to_string().contains(words) && refused.to_string().contains("cannot"), "{refused}");
            assert!(refused.hint.contains("remove the setting"), "{}", refused.hint);
        }
    }

    #[test]
    fn a_health_path_is_nothing_but_a_path() {
        let long = format!("/{}", "a".repeat(MAX_PATH));
        for path in ["", "ok", "/a b", "/a\r\nHost: other", "/é", "/a#b", "http://other/", &long] {
            assert!(check(&service(Settings { health_path: Some(path.into()), ..Settings::default() })).is_err(), "{path:?}");
        }
        let background = ServiceManifest {
            kind: Kind::Background,
            listen: Listen::None,
            ..service(Settings { health_path: Some("/ok".into()), ..Settings::default() })
        };
        assert!(check(&background).unwrap_err().to_string().contains("background"));
    }

    #[test]
    fn kind_and_listener_have_to_fit() {
        for (kind, listen) in [(Kind::Http, Listen::None), (Kind::Background, Listen::Unix), (Kind::Background, Listen::Own)] {
            assert!(check(&ServiceManifest { kind, listen, ..service(Settings::default()) }).is_err());
        }
    }
}
