//! Kubernetes' way to containers: containerd's CRI plugin on our snapshots, asked by a small client. Its messages have
//! the fields that are used here, by their numbers in the specification of the interface (runtime.v1).

use prost::Message;
use tonic::transport::{Channel, Endpoint};
use tonic::{Request, Status};

use crate::common::{eventually, has};
use crate::containerd::{Containerd, archive, archive_of, can_run};
use crate::registry::Registry;

#[derive(Clone, PartialEq, Message)]
struct ImageSpec {
    #[prost(string, tag = "1")]
    image: String,
}

#[derive(Clone, PartialEq, Message)]
struct PullImage {
    #[prost(message, optional, tag = "1")]
    image: Option<ImageSpec>,
}

/// A response or request of one text: an id, a reference of an image.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct Nothing {}

/// Of a sandbox or, with two fields of it, a container.
#[derive(Clone, PartialEq, Message)]
struct SandboxMetadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct NamespaceOption {
    /// 2 is that of the node.
    #[prost(int32, tag = "1")]
    network: i32,
    #[prost(int32, tag = "2")]
    pid: i32,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxSecurity {
    #[prost(message, optional, tag = "1")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxSandbox {
    #[prost(message, optional, tag = "2")]
    security: Option<SandboxSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct SandboxConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<SandboxMetadata>,
    #[prost(string, tag = "3")]
    log_directory: String,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxSandbox>,
}

#[derive(Clone, PartialEq, Message)]
struct RunSandbox {
    #[prost(message, optional, tag = "1")]
    config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerMetadata {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerSecurity {
    #[prost(message, optional, tag = "3")]
    namespaces: Option<NamespaceOption>,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxContainer {
    #[prost(message, optional, tag = "2")]
    security: Option<ContainerSecurity>,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerMetadata>,
    #[prost(message, optional, tag = "2")]
    image: Option<ImageSpec>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
    #[prost(string, tag = "11")]
    log_path: String,
    #[prost(message, optional, tag = "15")]
    linux: Option<LinuxContainer>,
}

#[derive(Clone, PartialEq, Message)]
struct CreateContainer {
    #[prost(string, tag = "1")]
    sandbox: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    sandbox_config: Option<SandboxConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct ExecSync {
    #[prost(string, tag = "1")]
    container: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct ExecOutput {
    #[prost(bytes, tag = "1")]
    stdout: Vec<u8>,
    #[prost(bytes, tag = "2")]
    stderr: Vec<u8>,
    #[prost(int32, tag = "3")]
    code: i32,
}

struct Cri<'a> {
    containerd: &'a Containerd,
    channel: Channel,
}

impl<'a> Cri<'a> {
    fn connect(containerd: &'a Containerd) -> Self {
        let socket = containerd.server.cairn.path("containerd.sock");
        let endpoint = Endpoint::try_from(format!("unix://{}", socket.display())).unwrap();
        let channel = containerd
            .server
            .runtime
            .block_on(endpoint.connect())
            .unwrap();
        Self {
            containerd,
            channel,
        }
    }

    fn try_call<A, B>(&self, method: &'static str, request: A) -> Result<B, Status>
    where
        A: Message + Send + Sync + 'static,
        B: Message + Default + Send + Sync + 'static,
    {
        let mut grpc = tonic::client::Grpc::new(self.channel.clone());
        self.containerd.server.runtime.block_on(async {
            grpc.ready().await.expect("containerd is there");
            let path = method.parse().expect("a path");
            let codec = tonic_prost::ProstCodec::<A, B>::default();
            let answer = grpc.unary(Request::new(request), path, codec).await?;
            Ok(answer.into_inner())
        })
    }

    fn call<A, B>(&self, method: &'static str, request: A) -> B
    where
        A: Message + Send + Sync + 'static,
        B: Message + Default + Send + Sync + 'static,
    {
        let log = self.containerd.server.cairn.path("containerd.log");
        self.try_call(method, request).unwrap_or_else(|e| {
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            panic!("{method}: {e:?}\n{log}")
        })
    }

    fn of(&self, method: &'static str, id: &str) {
        let _: Nothing = self.call(method, Id { id: id.to_owned() });
    }
}

const HOST: Option<NamespaceOption> = Some(NamespaceOption { network: 2, pid: 1 });

#[test]
fn kubernetes_pulls_runs_enters_and_removes_pods() {
    if !can_run() || !has("skopeo") {
        skip!("needs root, containerd, runc and skopeo");
    }
    let Some(registry) = Registry::start() else {
        skip!("needs docker-registry");
    };
    let scratch = crate::common::Cairn::new();
    let app = archive(&scratch, "example.com/app:1");
    registry.fill(&format!("docker-archive:{}", app.display()), "app:1");
    let forever = ["/bin/sh", "-c", "while :; do /bin/sleep 1; done"];
    let pause = archive_of(&scratch, "example.com/pause:1", |config| {
        config["config"]["Cmd"] = serde_json::json!(forever);
        config["config"]["Volumes"] = serde_json::Value::Null;
    });
    registry.fill(&format!("docker-archive:{}", pause.display()), "pause:1");
    let (pause, app) = (
        format!("{}/pause:1", registry.host()),
        format!("{}/app:1", registry.host()),
    );
    let containerd = Containerd::with_cri(&pause);
    let cri = Cri::connect(&containerd);
    let image = Some(ImageSpec { image: app.clone() });
    let pull = PullImage {
        image: image.clone(),
    };
    let pulled: Id = cri.call("/runtime.v1.ImageService/PullImage", pull);
    assert!(pulled.id.starts_with("sha256:"), "{pulled:?}");

    let logs = scratch.path("logs");
    std::fs::create_dir(&logs).unwrap();
    let config = SandboxConfig {
        metadata: Some(SandboxMetadata {
            name: "pod".into(),
            uid: "uid".into(),
            namespace: "default".into(),
        }),
        log_directory: logs.display().to_string(),
        linux: Some(LinuxSandbox {
            security: Some(SandboxSecurity { namespaces: HOST }),
        }),
    };
    let run = RunSandbox {
        config: Some(config.clone()),
    };
    let sandbox: Id = cri.call("/runtime.v1.RuntimeService/RunPodSandbox", run);
    let create = CreateContainer {
        sandbox: sandbox.id.clone(),
        config: Some(ContainerConfig {
            metadata: Some(ContainerMetadata { name: "app".into() }),
            image: image.clone(),
            command: forever.map(str::to_owned).to_vec(),
            log_path: "app.log".into(),
            linux: Some(LinuxContainer {
                security: Some(ContainerSecurity { namespaces: HOST }),
            }),
        }),
        sandbox_config: Some(config),
    };
    let container: Id = cri.call("/runtime.v1.RuntimeService/CreateContainer", create);
    cri.of("/runtime.v1.RuntimeService/StartContainer", &container.id);
    let exec = |script: &str| -> ExecOutput {
        let exec = ExecSync {
            container: container.id.clone(),
            command: ["/bin/sh", "-c", script].map(str::to_owned).to_vec(),
            timeout: 20,
        };
        cri.call("/runtime.v1.RuntimeService/ExecSync", exec)
    };
    let done = exec("cat /etc/config; echo more > /opt/more; exit 3");
    assert_eq!(
        (done.code, &done.stdout[..]),
        (3, &b"mode=fast\n"[..]),
        "{done:?}"
    );
    assert_eq!(exec("cat /opt/more").stdout, b"more\n");
    let snapshots = containerd
        .server
        .cairn
        .json(&["snapshot", "ls", "kind==active"]);
    assert_eq!(
        snapshots.as_array().unwrap().len(),
        2,
        "of the sandbox and the container"
    );
    assert_eq!(snapshots[0]["labels"]["containerd.io/namespace"], "k8s.io");

    cri.of("/runtime.v1.RuntimeService/StopContainer", &container.id);
    cri.of("/runtime.v1.RuntimeService/RemoveContainer", &container.id);
    cri.of("/runtime.v1.RuntimeService/StopPodSandbox", &sandbox.id);
    cri.of("/runtime.v1.RuntimeService/RemovePodSandbox", &sandbox.id);
    let remove = |image: &str| {
        let image = image.to_owned();
        let request = PullImage {
            image: Some(ImageSpec { image }),
        };
        let _: Nothing = cri.call("/runtime.v1.ImageService/RemoveImage", request);
    };
    remove(&app);
    remove(&pause);
    eventually("all snapshots are gone", || {
        let all = containerd.server.cairn.json(&["snapshot", "ls"]);
        all.as_array().unwrap().is_empty()
    });
}
