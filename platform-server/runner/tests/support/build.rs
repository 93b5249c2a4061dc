//! Artifacts: a package of `tests/fixtures`, built as the platform builds an app, and what its manifest says.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use object::{Object, ObjectSection};
use shuttle_abi::{ABI_VERSION, Launch, MANIFEST_SECTION, Manifest, ResourceData};

use super::server::Runner;

/// A built package.
#[derive(Debug)]
pub(crate) struct Artifact {
    pub(crate) path: PathBuf,
    pub(crate) manifest: Manifest,
}

/// The artifact of a package of the fixtures. It is built once, however many tests ask for it.
pub(crate) fn artifact(package: &str) -> Arc<Artifact> {
    type Builds = BTreeMap<String, Arc<OnceLock<Arc<Artifact>>>>;
    static BUILDS: Mutex<Builds> = Mutex::new(Builds::new());
    let build = Arc::clone(BUILDS.lock().unwrap_or_else(PoisonError::into_inner).entry(package.to_owned()).or_default());
    Arc::clone(build.get_or_init(|| Arc::new(Artifact::build(package))))
}

/// The workspace of the apps.
pub(crate) fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

impl Artifact {
    fn build(package: &str) -> Self {
        let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("fixtures");
        let status = Command::new(env!("CARGO"))
            .args(["rustc", "--quiet", "--locked", "--lib", "--crate-type", "cdylib", "--package", package, "--target-dir"])
            .arg(&target)
            .current_dir(fixtures())
            .status()
            .unwrap();
        assert!(status.success(), "the fixture {package} does not build: see above");
        let crate_name = package.replace('-', "_");
        let path = target.join(format!("debug/lib{crate_name}.so"));
        let manifest = read_manifest(&path, &crate_name);
        Self { path, manifest }
    }

    /// A launch that works for an app without resources; tests change what they are about.
    pub(crate) fn launch(&self) -> Launch {
        Launch {
            abi_version: ABI_VERSION,
            crate_name: self.manifest.crate_name.clone(),
            project: self.manifest.crate_name.replace('_', "-"),
            deployment: "1".into(),
            url: "http://app.localhost".into(),
            workdir: "/".into(),
            files: None,
            environment: "test".into(),
            uid: None,
            executable: false,
            resources: BTreeMap::new(),
            env: BTreeMap::new(),
        }
    }

    /// A runner with this app, which gets these resources and the listening socket that its manifest asks for.
    pub(crate) fn start<'a>(&self, resources: impl IntoIterator<Item = (&'a str, ResourceData)>) -> Runner {
        let resources = resources.into_iter().map(|(name, data)| (name.to_owned(), data)).collect();
        self.start_with(&Launch { resources, ..self.launch() }, &[])
    }

    /// As [`start`](Self::start), with all that can be said.
    pub(crate) fn start_with(&self, launch: &Launch, env: &[(&str, &str)]) -> Runner {
        Runner::start(&self.path, self.manifest.service.listen, launch, env)
    }
}

/// The record of the crate in the section that the server reads.
fn read_manifest(path: &Path, crate_name: &str) -> Manifest {
    let bytes = fs::read(path).unwrap();
    let file = object::File::parse(bytes.as_slice()).unwrap();
    let section = file.section_by_name(MANIFEST_SECTION).expect("the artifact has a manifest");
    let records = Manifest::parse_section(section.data().unwrap()).unwrap();
    records.into_iter().find(|record| record.crate_name == crate_name).expect("the crate has a record")
}
