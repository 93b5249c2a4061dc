//! `login`: remembers a server and its key, once the server has taken the key.

use super::block_on;
use crate::{
    cli::Global,
    client::Client,
    config::{self, ConfigFile, Server},
    error::Error,
    ui::Ui,
};

pub(super) fn run(global: &Global, ui: &Ui) -> Result<(), Error> {
    let path = config::config_path()?;
    let url = config::url(config::given_url(global).unwrap_or(config::DEFAULT_API))?;
    config::check_transport(&url, global.insecure)?;
    let address = config::display(&url);
    let key = ui.secret(&format!("Key of {address}: ")).map_err(|source| Error::Io { what: "cannot read the key", source })?;
    let server = Server { url, key: config::check_key(&key)? };
    let client = Client::new(&server)?;
    block_on(async { Ok(client.projects().await?) })?;
    config::write(&path, &ConfigFile { api_url: Some(address.clone()), api_key: Some(server.key) })?;
    if ui.is_json() {
        ui.json(&serde_json::json!({ "api_url": address, "config_file": path }));
    } else {
        ui.status("Remembered", &format!("{address}, in {}", path.display()));
    }
    Ok(())
}
