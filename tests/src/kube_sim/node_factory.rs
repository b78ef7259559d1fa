//! Nodes as a cluster has them: registered by a kubelet, ready, spread over zones.

use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::clock;

const ZONES: [&str; 3] = ["zone-a", "zone-b", "zone-c"];

/// A node's body. `number` decides its zone, address and age, so that a set of nodes is the same
/// in every run but for its UIDs.
pub(crate) fn node(name: &str, number: usize) -> Map<String, Value> {
    let zone = ZONES[number % ZONES.len()];
    let role = if number <= 3 && number > 0 { "control-plane" } else { "worker" };
    let created = clock::format(
        jiff::Timestamp::now() - jiff::SignedDuration::from_hours(24 * (1 + number as i64 % 90)),
    );
    let heartbeat = clock::now();
    let condition = |kind: &str, status: &str, reason: &str, message: &str| {
        json!({
            "type": kind,
            "status": status,
            "lastHeartbeatTime": heartbeat,
            "lastTransitionTime": created,
            "reason": reason,
            "message": message,
        })
    };
    let image = |name: &str, size: u64| json!({ "names": [name], "sizeBytes": size });
    let capacity = json!({
        "cpu": "16",
        "ephemeral-storage": "209702892Ki",
        "hugepages-2Mi": "0",
        "memory": "65841252Ki",
        "pods": "110",
    });
    let allocatable = json!({
        "cpu": "15800m",
        "ephemeral-storage": "193262184948",
        "hugepages-2Mi": "0",
        "memory": "63741028Ki",
        "pods": "110",
    });
    let body = json!({
        "metadata": {
            "name": name,
            "creationTimestamp": created,
            "labels": {
                "beta.kubernetes.io/arch": "amd64",
                "beta.kubernetes.io/os": "linux",
                "kubernetes.io/arch": "amd64",
                "kubernetes.io/hostname": name,
                "kubernetes.io/os": "linux",
                format!("node-role.kubernetes.io/{role}"): "",
                "node.kubernetes.io/instance-type": "sim.4xlarge",
                "topology.kubernetes.io/region": "region-1",
                "topology.kubernetes.io/zone": zone,
            },
            "annotations": {
                "node.alpha.kubernetes.io/ttl": "0",
                "volumes.kubernetes.io/controller-managed-attach-detach": "true",
            },
        },
        "spec": {
            "podCIDR": format!("10.{}.{}.0/24", 128 + number / 256 % 128, number % 256),
            "podCIDRs": [format!("10.{}.{}.0/24", 128 + number / 256 % 128, number % 256)],
            "providerID": format!("sim://{zone}/{name}"),
        },
        "status": {
            "addresses": [
                { "type": "InternalIP", "address": address(number) },
                { "type": "Hostname", "address": name },
            ],
            "capacity": capacity,
            "allocatable": allocatable,
            "conditions": [
                condition("MemoryPressure", "False", "KubeletHasSufficientMemory",
                    "kubelet has sufficient memory available"),
                condition("DiskPressure", "False", "KubeletHasNoDiskPressure",
                    "kubelet has no disk pressure"),
                condition("PIDPressure", "False", "KubeletHasSufficientPID",
                    "kubelet has sufficient PID available"),
                condition("Ready", "True", "KubeletReady", "kubelet is posting ready status"),
            ],
            "daemonEndpoints": { "kubeletEndpoint": { "Port": 10250 } },
            "nodeInfo": {
                "machineID": Uuid::new_v4().simple().to_string(),
                "systemUUID": Uuid::new_v4().to_string(),
                "bootID": Uuid::new_v4().to_string(),
                "kernelVersion": "6.1.0-40-amd64",
                "osImage": "Debian GNU/Linux 12 (bookworm)",
                "containerRuntimeVersion": "containerd://2.1.4",
                "kubeletVersion": "v1.36.2",
                "kubeProxyVersion": "",
                "operatingSystem": "linux",
                "architecture": "amd64",
            },
            "images": [
                image("registry.k8s.io/kube-proxy:v1.36.2", 33_428_113),
                image("registry.k8s.io/coredns/coredns:v1.13.1", 23_553_139),
                image("registry.k8s.io/pause:3.10.1", 320_448),
            ],
        },
    });
    match body {
        Value::Object(body) => body,
        _ => Map::new(),
    }
}

/// The name of the node with a number, such as `node-0001`.
pub(crate) fn name(number: usize) -> String {
    format!("node-{number:04}")
}

fn address(number: usize) -> String {
    format!("10.{}.{}.{}", number / 62_500 % 128, number / 250 % 250, 1 + number % 250)
}
