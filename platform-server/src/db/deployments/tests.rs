//! Rows as the driver uses them.

use shuttle_abi::{Kind, Listen, Manifest, ServiceManifest, Settings};

use super::*;

fn digest(byte: u8) -> Digest {
    Digest::new(&[byte; 32])
}

async fn queued(db: &Db, id: &str, archive: u8) -> Queued {
    let index = r#"{"format": 1, "package": "app", "crate_name": "app", "workspace_root": "", "package_root": "",
        "sdk_version": "0.1.0", "cli_version": "0.1.0"}"#;
    db.create_deployment(NewDeployment {
        id: id.into(),
        project: "app".parse().unwrap(),
        archive: digest(archive),
        index: serde_json::from_str(index).unwrap(),
        secrets: None,
        build: BuildMode::Both,
        origin: Origin::from_query(&format!("folder:m:/{id}")),
    })
    .await
    .unwrap()
}

async fn live(db: &Db, id: &str, archive: u8) -> Built {
    let settings = Settings::default();
    let service = ServiceManifest { framework: "axum".into(), kind: Kind::Http, listen: Listen::Unix, settings };
    let manifest = Manifest { manifest: 2, sdk: String::new(), crate_name: "app".into(), service, resources: Vec::new() };
    let built = queued(db, id, archive).await.built(digest(archive), manifest);
    db.swap(State::Queued, Deployment::Built(built.clone())).await.unwrap();
    db.swap(State::Built, Deployment::Loaded(built.clone().loaded())).await.unwrap();
    db.go_live(built.loaded()).await.unwrap().built
}

fn open() -> (tempfile::TempDir, Db) {
    let folder = tempfile::tempdir().unwrap();
    let db = Db::open(&folder.path().join("platform.db")).unwrap();
    (folder, db)
}

#[tokio::test]
async fn a_project_is_from_where_the_serving_and_the_newest_deployment_are() {
    let (_folder, db) = open();
    let from = |ids: &str| ids.split_whitespace().map(|id| format!("folder:m:/{id}")).collect::<Vec<_>>().join("\n");
    let origin = async || db.origin("app".parse().unwrap()).await.unwrap().to_query();
    assert_eq!(origin().await, "");
    queued(&db, "a", 1).await;
    assert_eq!(origin().await, from("a"));
    live(&db, "b", 1).await;
    assert_eq!(origin().await, from("b"), "what was replaced by another place's says nothing");
    queued(&db, "c", 2).await;
    assert_eq!(origin().await, from("b c"));
    db.delete_project("app".parse().unwrap()).await.unwrap();
    assert_eq!(origin().await, "");
    assert!(db.deleted_at("app".parse().unwrap()).await.unwrap().is_some());
    queued(&db, "d", 2).await;
    assert_eq!(origin().await, from("d"));
    assert_eq!(db.deleted_at("app".parse().unwrap()).await.unwrap(), None);
}

#[tokio::test]
async fn a_row_that_cannot_be_read_hides_no_other_and_can_be_replaced() {
    let (_folder, db) = open();
    let serving = live(&db, "a", 1).await;
    queued(&db, "b", 2).await;
    let spoil = "UPDATE deployment SET manifest = '{\"manifest\": 99}' WHERE id = 'a'";
    db.call(|db| Ok(db.execute(spoil, [])?)).await.unwrap();
    let ids = |found: Vec<Result<Deployment, Unreadable>>| {
        found
            .into_iter()
            .map(|row| row.map_or_else(|bad| format!("{}!", bad.id), |row| row.meta().id.clone()))
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(db.unfinished().await.unwrap()), ["a!", "b"]);
    let project = serving.meta.project_id;
    assert_eq!(ids(db.deployments(project, 9).await.unwrap()), ["b", "a!"]);
    assert!(matches!(db.serving(project).await, Err(DbError::Unreadable(bad)) if bad.state == "deployed"));
    assert_eq!(db.serving_age(project).await.unwrap(), Some((serving.meta.seq, "a".to_owned())));
    assert!(db.to_optimise().await.unwrap().is_none());
    assert!(db.same("app".parse().unwrap(), digest(1), None, BuildMode::Both).await.unwrap().is_none());
    live(&db, "c", 3).await;
    assert_eq!(db.serving(project).await.unwrap().map(|serving| serving.built.meta.id).as_deref(), Some("c"));
    assert_eq!(db.to_optimise().await.unwrap().map(|built| built.meta.id).as_deref(), Some("c"));
    // A project, too.
    db.call(|db| {
        Ok(db.execute("INSERT INTO project (name, created_at, deleted_at) VALUES ('Not One', 1, 1), ('Nor This', 1, NULL)", [])?)
    })
    .await
    .unwrap();
    assert_eq!(db.projects().await.unwrap().len(), 1);
    db.delete_project("app".parse().unwrap()).await.unwrap();
    assert_eq!(db.deleted_before(i64::MAX).await.unwrap(), ["app".parse().unwrap()]);
}

#[tokio::test]
async fn what_is_built_again_has_nothing_of_the_first_time() {
    let (_folder, db) = open();
    let serving = live(&db, "a", 1).await;
    db.set_optimised(serving.meta.seq, Ok(digest(2))).await.unwrap();
    db.forget_optimised(serving.meta.seq).await.unwrap();
    assert_eq!(db.to_optimise().await.unwrap().map(|built| built.meta.id).as_deref(), Some("a"));
    db.set_optimised(serving.meta.seq, Ok(digest(2))).await.unwrap();
    assert!(matches!(db.requeue(serving.meta.seq, State::Built).await, Err(DbError::Changed)));
    let queued = db.requeue(serving.meta.seq, State::Deployed).await.unwrap();
    assert_eq!((queued.meta.id.as_str(), db.serving(serving.meta.project_id).await.unwrap().is_none()), ("a", true));
    assert!(db.kept_files().await.unwrap().artifacts.is_empty());
    let again = queued.built(digest(3), serving.manifest);
    db.swap(State::Queued, Deployment::Built(again)).await.unwrap();
}

#[tokio::test]
async fn what_serves_is_the_same_unless_something_newer_is_on_its_way() {
    let (_folder, db) = open();
    let same = async |archive, build| {
        let found = db.same("app".parse().unwrap(), digest(archive), None, build).await.unwrap();
        found.map(|serving| serving.built.meta.id)
    };
    assert_eq!(same(1, BuildMode::Both).await, None);
    live(&db, "a", 1).await;
    assert_eq!(same(1, BuildMode::Both).await.as_deref(), Some("a"));
    assert_eq!((same(2, BuildMode::Both).await, same(1, BuildMode::Fast).await), (None, None));
    // The older one is wanted back: it has to come after the newer one.
    let newer = queued(&db, "b", 2).await;
    assert_eq!(same(1, BuildMode::Both).await, None);
    let failure = Failure { kind: FailureKind::Build, message: "no".into(), hint: None, exit_status: None, log: Vec::new() };
    db.swap(State::Queued, Deployment::Error(newer.failed(failure))).await.unwrap();
    assert_eq!(same(1, BuildMode::Both).await.as_deref(), Some("a"));
    let project = db.project("app".parse().unwrap()).await.unwrap().unwrap();
    db.add_secrets(project.id, "s1".into(), vec![1]).await.unwrap();
    assert_eq!(same(1, BuildMode::Both).await, None, "it would get the new secrets");
}

#[tokio::test]
async fn an_optimised_build_is_wanted_once_and_only_of_what_serves() {
    let (_folder, db) = open();
    let older = live(&db, "a", 1).await;
    let newer = live(&db, "b", 2).await;
    assert_eq!(db.to_optimise().await.unwrap().map(|built| built.meta.id).as_deref(), Some("b"));
    assert!(matches!(db.set_optimised(older.meta.seq, Ok(digest(3))).await, Err(DbError::Changed)));
    db.set_optimised(newer.meta.seq, Ok(digest(4))).await.unwrap();
    assert!(db.to_optimise().await.unwrap().is_none());
    assert_eq!(db.serving(newer.meta.project_id).await.unwrap().unwrap().built.best().0, &digest(4));
    // Both are needed: the one is what the other falls back to.
    let kept = db.kept_files().await.unwrap().artifacts;
    assert!([2, 4].into_iter().all(|byte| kept.contains(digest(byte).as_str())));
    // It was ready, and then did not start.
    db.set_optimised(newer.meta.seq, Err("no".into())).await.unwrap();
    assert!(db.to_optimise().await.unwrap().is_none());
    let live = live(&db, "c", 5).await;
    db.set_optimised(live.meta.seq, Err("no".into())).await.unwrap();
    let serving = db.serving(live.meta.project_id).await.unwrap().unwrap().built;
    assert_eq!((&serving.optimised, serving.best().0), (&Optimised::Failed("no".into()), &digest(5)));
}
