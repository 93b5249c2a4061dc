//! Which folders are removed, and which never.

use super::*;

fn folders(root: &Path, max_bytes: u64) -> BuildFolders {
    BuildFolders::new(root.to_path_buf(), max_bytes, Trash::emptied_at_once(root.join("trash")))
}

fn names(root: &Path) -> Vec<String> {
    let mut names: Vec<_> = fs::read_dir(root).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[tokio::test]
async fn what_a_killed_build_left_is_swept_and_what_is_in_use_is_not() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path(), 0);
    let building = folders.open(1, None).await.unwrap();
    let filled = folders.scratch(Some(&building.target), None).unwrap();
    let fresh = folders.scratch(None, None).unwrap();
    for left in ["1/.tmp-dependenciesA1b2C3/target", "2/.tmp-dependenciesA1b2C3/target", ".tmpA1b2C3/target"] {
        fs::create_dir_all(root.path().join(left)).unwrap();
    }
    for lock in ["2.lock", "3.lock", "shared-release-1.lock"] {
        fs::write(root.path().join(lock), "").unwrap();
    }
    for file in ["1/target/file", "2/file"].map(|file| root.path().join(file)).iter().chain(&[fresh.path().join("file")]) {
        fs::write(file, vec![1; 8192]).unwrap();
    }
    // The size limit is no reason to take a folder from the build that fills it.
    folders.evict().unwrap();
    assert!(fresh.path().exists() && filled.path().exists() && !root.path().join("2").exists());
    folders.sweep().unwrap();
    assert!(fresh.path().exists() && filled.path().exists());
    let scratch = |path: &Path| path.file_name().unwrap().to_str().unwrap().to_owned();
    assert_eq!(names(root.path()), [scratch(fresh.path()), "1".to_owned(), "1.lock".to_owned()]);
    let left = names(&root.path().join("1"));
    assert_eq!(left.iter().filter(|name| is_scratch(name.as_ref())).collect::<Vec<_>>(), [&scratch(filled.path())]);
    assert!(folders.find("shared-release-2").unwrap().is_none());
    drop((building, filled, fresh));
    folders.sweep().unwrap();
    folders.evict().unwrap();
    assert_eq!(names(root.path()), [""; 0]);
}

#[test]
fn who_waited_for_a_folder_that_is_gone_makes_a_lock_of_its_own() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path(), 0);
    fs::create_dir(root.path().join("1")).unwrap();
    let alone = folders.lock_alone("1").unwrap().unwrap();
    let waiting = folders.clone();
    let waits = std::thread::spawn(move || waiting.reserve("1").unwrap());
    fs::remove_file(root.path().join("1.lock")).unwrap();
    drop(alone);
    let _reserved = waits.join().unwrap();
    assert!(folders.lock_alone("1").unwrap().is_none(), "it is reserved for who comes next as well");
}

#[tokio::test]
async fn the_least_recently_used_goes_first_and_a_busy_one_never() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path(), 300 * 1024);
    let mut ages = SystemTime::UNIX_EPOCH;
    for project in 1..=3 {
        let folder = folders.open(project, None).await.unwrap();
        fs::write(folder.target.join("big"), vec![1; 120 * 1024]).unwrap();
        ages += std::time::Duration::from_secs(1);
        let used = File::options().write(true).open(root.path().join(project.to_string()).join("used")).unwrap();
        used.set_modified(ages).unwrap();
    }
    let _newest = folders.open(4, None).await.unwrap();
    folders.evict().unwrap();
    let left: Vec<bool> = (1..=4).map(|project| root.path().join(project.to_string()).exists()).collect();
    assert_eq!(left, [false, true, true, true]);

    let small = BuildFolders { max_bytes: 1, ..folders };
    let _busy = small.open(3, None).await.unwrap();
    small.evict().unwrap();
    assert!(root.path().join("3/target/big").exists());
    assert!(!root.path().join("2").exists());
}

#[tokio::test]
async fn a_set_that_a_project_lies_upon_stays_until_the_project_goes() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path(), u64::MAX).in_layers(true);
    let set = root.path().join(format!("dependencies-project-release-{:0>32}", 1));
    let make = || {
        fs::create_dir_all(shared::units(&set).join("release/deps")).unwrap();
        fs::write(shared::units(&set).join("release/deps/big"), vec![1; 64 * 1024]).unwrap();
        shared::used(&set).unwrap();
    };
    make();
    let project = folders.open(1, None).await.unwrap();
    assert!(project.is_new("release").unwrap());
    project.take(&set, None).unwrap();
    assert!(!project.is_new("release").unwrap() && project.is_new("dist").unwrap());
    assert_eq!(project.layers().unwrap(), [shared::units(&set)]);
    // Nothing was copied.
    assert_eq!(fs::read_dir(&project.target).unwrap().count(), 0);

    // Its last use is that of the project.
    let long_ago = SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1);
    File::options().write(true).open(set.join("used")).unwrap().set_modified(long_ago).unwrap();
    let listed = folders.list(Closed::Leave).unwrap();
    assert_eq!(listed.iter().map(|folder| folder.project).collect::<Vec<_>>(), [Some(1), None]);
    assert_eq!(listed[0].used, listed[1].used);
    let small = BuildFolders { max_bytes: 1, ..folders.clone() };
    small.evict().unwrap();
    assert!(set.exists() && project.target.exists());
    drop(project);
    assert!(!small.remove(&listed[1]).unwrap());
    small.evict().unwrap();
    assert!(!set.exists() && !root.path().join("1").exists());

    // A project whose set is gone all the same begins anew.
    make();
    let project = folders.open(1, None).await.unwrap();
    project.take(&set, None).unwrap();
    fs::create_dir(project.target.join("release")).unwrap();
    drop(project);
    fs::remove_dir_all(&set).unwrap();
    assert!(folders.open(1, None).await.unwrap().is_new("release").unwrap());
    // And one on a machine that has no such mounts any more.
    make();
    folders.open(1, None).await.unwrap().take(&set, None).unwrap();
    assert!(folders.clone().in_layers(false).open(1, None).await.unwrap().layers().unwrap().is_empty());
}

#[tokio::test]
async fn a_hundred_projects_upon_a_set_take_what_one_takes() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path(), u64::MAX).in_layers(true);
    let set = root.path().join(format!("dependencies-project-release-{:0>32}", 1));
    fs::create_dir_all(shared::units(&set).join("release/deps")).unwrap();
    let size = 1024 * 1024;
    fs::write(shared::units(&set).join("release/deps/big"), vec![1; size]).unwrap();
    shared::used(&set).unwrap();
    for project in 1..=100 {
        folders.open(project, None).await.unwrap().take(&set, None).unwrap();
    }
    let bytes: u64 = folders.list(Closed::Leave).unwrap().iter().map(|folder| folder.bytes).sum();
    assert!((size as u64..size as u64 * 2).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_project_with_many_profiles_lies_upon_a_few_sets() {
    let root = tempfile::tempdir().unwrap();
    let folders = folders(root.path(), u64::MAX).in_layers(true);
    let project = folders.open(1, None).await.unwrap();
    for number in 0..40 {
        let profile = format!("profile{number}");
        let set = root.path().join(format!("dependencies-project-{profile}-{number:0>32}"));
        fs::create_dir_all(shared::units(&set).join(&profile)).unwrap();
        shared::used(&set).unwrap();
        assert!(project.is_new(&profile).unwrap());
        project.take(&set, None).unwrap();
        assert!(!project.is_new(&profile).unwrap());
        let layers = project.layers().unwrap();
        assert!(layers.len() <= MOST_SETS && layers.contains(&shared::units(&set)), "{layers:?}");
        fs::create_dir(project.target.join(&profile)).unwrap();
    }
    // What was compiled upon the sets that are not below any more is gone with them.
    assert_eq!(fs::read_dir(&project.target).unwrap().count(), project.layers().unwrap().len());
}
