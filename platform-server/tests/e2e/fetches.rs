//! Where a build's dependencies come from.

use serde_json::Value;

use crate::{
    builds::{assert_failed, deploy},
    platform::Platform,
};

/// A package that depends on `b` in the repository at this URL.
async fn deploy_with_git(platform: &Platform, url: &str) -> Value {
    let manifest = format!(
        "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[dependencies]\nb = {{ git = \"{url}\" }}\n"
    );
    let lock = format!(
        "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\ndependencies = [\n \"b\",\n]\n\n\
         [[package]]\nname = \"b\"\nversion = \"0.1.0\"\nsource = \"git+{url}#{}\"\n",
        "1".repeat(40)
    );
    deploy(platform, &[("Cargo.toml", &manifest), ("Cargo.lock", &lock)]).await
}

#[tokio::test]
async fn dependencies_come_from_the_public_internet_alone() {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };
    let bind = async || {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        (listener, port)
    };
    let ((open, port), (allowed, redirecting)) = (bind().await, bind().await);
    let (closed, free) = bind().await;
    drop(closed);
    let platform = Platform::start(&["--allow-fetch-from", &format!("127.0.0.1:{redirecting}")]);
    let mut said = Vec::new();
    for port in [port, free] {
        for host in ["127.0.0.1", "localhost"] {
            let deployment = deploy_with_git(&platform, &format!("http://{host}:{port}/b")).await;
            assert_failed(&deployment, "fetch", &format!("--allow-fetch-from {host}:{port}"));
            said.push(deployment["failure"].to_string().replace(&port.to_string(), "PORT"));
        }
    }
    assert_eq!(said[..2], said[2..], "open ports are not told from closed ones");

    // One that the owner allows cannot send it on to others.
    let redirect = tokio::spawn(async move {
        let location = format!("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:{port}/b/info/refs?service=git-upload-pack\r\n");
        while let Ok((mut stream, _)) = allowed.accept().await {
            let answer = format!("{location}Content-Length: 0\r\nConnection: close\r\n\r\n");
            let _request = stream.read(&mut [0; 4096]).await;
            drop(stream.write_all(answer.as_bytes()).await);
        }
    });
    let deployment = deploy_with_git(&platform, &format!("http://127.0.0.1:{redirecting}/b")).await;
    redirect.abort();
    assert_failed(&deployment, "fetch", &format!("--allow-fetch-from 127.0.0.1:{port}"));
    // Whoever had connected would be waiting.
    open.into_std().unwrap().accept().unwrap_err();
}
