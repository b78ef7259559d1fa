//! Pod, after `k8s.io/api/core/v1`.
//!
//! What is inside a probe, a volume source or a security context is not described: it is kept and
//! owned as one field.

use super::{
    Any, Atomic, CONDITION_TIMES, Filled, Flag, KeptKeyed, KeptText, Keyed, METADATA, Number,
    Optional, Quantity, Schema, Struct, Text,
};

const RESOURCES: &[(&str, Schema)] =
    &[("limits", Schema::Map(&Quantity)), ("requests", Schema::Map(&Quantity)), ("claims", Any)];

const CONTAINER: Schema = Struct(&[
    ("name", KeptText),
    ("image", Text),
    ("command", Atomic(&KeptText)),
    ("args", Atomic(&KeptText)),
    ("workingDir", Text),
    ("ports", Any),
    ("envFrom", Any),
    ("env", Keyed("name", &Struct(&[("name", KeptText), ("value", Text), ("valueFrom", Any)]))),
    ("resources", Filled(RESOURCES)),
    ("resizePolicy", Any),
    ("restartPolicy", Text),
    ("restartPolicyRules", Any),
    ("volumeMounts", Any),
    ("volumeDevices", Any),
    ("livenessProbe", Any),
    ("readinessProbe", Any),
    ("startupProbe", Any),
    ("lifecycle", Any),
    ("terminationMessagePath", Text),
    ("terminationMessagePolicy", Text),
    ("imagePullPolicy", Text),
    ("securityContext", Any),
    ("stdin", Flag),
    ("stdinOnce", Flag),
    ("tty", Flag),
]);

const VOLUME: Schema = Struct(&[
    ("name", KeptText),
    ("emptyDir", Optional(&[("medium", Text), ("sizeLimit", Any)])),
    ("hostPath", Any),
    ("configMap", Any),
    ("secret", Any),
    ("projected", Any),
    ("downwardAPI", Any),
    ("persistentVolumeClaim", Any),
    ("csi", Any),
    ("ephemeral", Any),
    ("image", Any),
    ("nfs", Any),
    ("iscsi", Any),
    ("fc", Any),
    ("rbd", Any),
    ("cephfs", Any),
    ("cinder", Any),
    ("glusterfs", Any),
    ("flexVolume", Any),
    ("flocker", Any),
    ("gitRepo", Any),
    ("awsElasticBlockStore", Any),
    ("azureDisk", Any),
    ("azureFile", Any),
    ("gcePersistentDisk", Any),
    ("photonPersistentDisk", Any),
    ("portworxVolume", Any),
    ("quobyte", Any),
    ("scaleIO", Any),
    ("storageos", Any),
    ("vsphereVolume", Any),
]);

const TOLERATION: Schema = Struct(&[
    ("key", Text),
    ("operator", Text),
    ("value", Text),
    ("effect", Text),
    ("tolerationSeconds", Any),
]);

const SECURITY_CONTEXT: &[(&str, Schema)] = &[
    ("seLinuxOptions", Any),
    ("windowsOptions", Any),
    ("runAsUser", Any),
    ("runAsGroup", Any),
    ("runAsNonRoot", Any),
    ("supplementalGroups", Any),
    ("supplementalGroupsPolicy", Any),
    ("fsGroup", Any),
    ("sysctls", Any),
    ("fsGroupChangePolicy", Any),
    ("seccompProfile", Any),
    ("appArmorProfile", Any),
    ("seLinuxChangePolicy", Any),
];

/// The specification of a pod, alone or in a template.
pub(super) const POD_SPEC: &[(&str, Schema)] = &[
    ("volumes", Keyed("name", &VOLUME)),
    ("initContainers", Keyed("name", &CONTAINER)),
    ("containers", KeptKeyed("name", &CONTAINER)),
    ("ephemeralContainers", Keyed("name", &Any)),
    ("restartPolicy", Text),
    // Zero means at once, and is not the same as nothing.
    ("terminationGracePeriodSeconds", Any),
    ("activeDeadlineSeconds", Any),
    ("dnsPolicy", Text),
    ("nodeSelector", Schema::Map(&KeptText)),
    ("serviceAccountName", Text),
    ("serviceAccount", Text),
    ("automountServiceAccountToken", Any),
    ("nodeName", Text),
    ("hostNetwork", Flag),
    ("hostPID", Flag),
    ("hostIPC", Flag),
    ("shareProcessNamespace", Any),
    ("securityContext", Optional(SECURITY_CONTEXT)),
    ("imagePullSecrets", Keyed("name", &Struct(&[("name", Text)]))),
    ("hostname", Text),
    ("hostnameOverride", Any),
    ("subdomain", Text),
    ("affinity", Any),
    ("schedulerName", Text),
    ("tolerations", Atomic(&TOLERATION)),
    ("hostAliases", Any),
    ("priorityClassName", Text),
    ("priority", Any),
    ("dnsConfig", Any),
    ("readinessGates", Any),
    ("runtimeClassName", Any),
    ("enableServiceLinks", Any),
    ("preemptionPolicy", Any),
    ("overhead", Any),
    ("topologySpreadConstraints", Any),
    ("setHostnameAsFQDN", Any),
    ("os", Any),
    ("hostUsers", Any),
    ("schedulingGates", Any),
    ("schedulingGroup", Any),
    ("resourceClaims", Any),
    ("resources", Optional(RESOURCES)),
];

const STATUS: Schema = Struct(&[
    ("observedGeneration", Number),
    ("phase", Text),
    ("conditions", Keyed("type", &CONDITION_TIMES)),
    ("message", Text),
    ("reason", Text),
    ("nominatedNodeName", Text),
    ("hostIP", Text),
    ("hostIPs", Any),
    ("podIP", Text),
    ("podIPs", Any),
    ("startTime", Text),
    ("initContainerStatuses", Any),
    ("containerStatuses", Any),
    ("ephemeralContainerStatuses", Any),
    ("qosClass", Text),
    ("resize", Text),
    ("resourceClaimStatuses", Any),
    ("extendedResourceClaimStatus", Any),
    ("nodeAllocatableResourceClaimStatuses", Any),
    ("allocatedResources", Any),
    ("resources", Any),
]);

/// Pod.
pub(crate) static POD: Schema =
    Struct(&[("metadata", METADATA), ("spec", Struct(POD_SPEC)), ("status", STATUS)]);
