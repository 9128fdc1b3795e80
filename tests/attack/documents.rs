//! Image documents that are large or odd: refused, or run like any other.

use super::{Tar, common, under_every_driver};
use serde_json::json;

#[test]
fn documents_of_any_size_are_refused_or_start_at_once() {
    if !common::is_root() {
        skip!("needs root");
    }
    under_every_driver(&[], |bench| {
        let env: Vec<String> = (0..100_000).map(|i| format!("V{i}=x")).collect();
        let volumes: serde_json::Map<String, serde_json::Value> =
            (0..3000).map(|i| (format!("/v/{i}"), json!({}))).collect();
        for config in [
            json!({"Env": env}),
            json!({"WorkingDir": format!("/{}", "x/".repeat(200_000))}),
            json!({"Volumes": {format!("/{}", "x".repeat(400_000)): {}}}),
            json!({"Volumes": volumes}),
        ] {
            let mut config = config;
            config["Cmd"] = json!(["/bin/true"]);
            let archive = common::docker_archive("big", &[Tar::new().file("f", b"").done()], |d| {
                d["config"] = config;
            });
            let file = bench.cairn.path("big.tar");
            std::fs::write(&file, archive).unwrap();
            let output = bench.cairn.output(&["import", file.to_str().unwrap()]);
            let err = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(1), "{err}");
            assert!(err.starts_with("cairn: ") && err.len() < 3000, "{err}");
        }
    });
}
