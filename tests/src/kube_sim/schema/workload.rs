//! What makes pods and what protects them: `apps/v1`, `batch/v1`, `policy/v1`.

use super::{
    Any, Flag, KeptNumber, KeptText, Keyed, METADATA, Moment, Number, Schema, Struct, Text,
    pod::POD_SPEC,
};

const CONDITION: Schema = Struct(&[
    ("type", KeptText),
    ("status", KeptText),
    ("observedGeneration", Number),
    ("lastTransitionTime", Moment),
    ("lastUpdateTime", Text),
    ("lastProbeTime", Text),
    ("reason", KeptText),
    ("message", KeptText),
]);

/// PodDisruptionBudget.
pub(crate) static BUDGET: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("minAvailable", Any),
            ("selector", Any),
            ("maxUnavailable", Any),
            ("unhealthyPodEvictionPolicy", Text),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("observedGeneration", Number),
            ("disruptedPods", Schema::Map(&KeptText)),
            ("disruptionsAllowed", KeptNumber),
            ("currentHealthy", KeptNumber),
            ("desiredHealthy", KeptNumber),
            ("expectedPods", KeptNumber),
            ("conditions", Keyed("type", &CONDITION)),
        ]),
    ),
]);

const TEMPLATE: Schema = Struct(&[
    (
        "metadata",
        Struct(&[
            ("name", Text),
            ("labels", Schema::Map(&KeptText)),
            ("annotations", Schema::Map(&KeptText)),
            ("creationTimestamp", Any),
        ]),
    ),
    ("spec", Struct(POD_SPEC)),
]);

/// ReplicaSet.
pub(crate) static REPLICA_SET: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("replicas", Any),
            ("minReadySeconds", Number),
            ("selector", Any),
            ("template", TEMPLATE),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("replicas", KeptNumber),
            ("fullyLabeledReplicas", Number),
            ("readyReplicas", Number),
            ("availableReplicas", Number),
            ("terminatingReplicas", Any),
            ("observedGeneration", Number),
            ("conditions", Keyed("type", &CONDITION)),
        ]),
    ),
]);

/// StatefulSet.
pub(crate) static STATEFUL_SET: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("replicas", Any),
            ("selector", Any),
            ("template", TEMPLATE),
            ("volumeClaimTemplates", Any),
            ("serviceName", Text),
            ("podManagementPolicy", Text),
            ("updateStrategy", Any),
            ("revisionHistoryLimit", Any),
            ("minReadySeconds", Number),
            ("persistentVolumeClaimRetentionPolicy", Any),
            ("ordinals", Any),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("observedGeneration", Number),
            ("replicas", KeptNumber),
            ("readyReplicas", Number),
            ("currentReplicas", Number),
            ("updatedReplicas", Number),
            ("currentRevision", Text),
            ("updateRevision", Text),
            ("collisionCount", Any),
            ("conditions", Keyed("type", &CONDITION)),
            ("availableReplicas", Number),
        ]),
    ),
]);

/// DaemonSet.
pub(crate) static DAEMON_SET: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("selector", Any),
            ("template", TEMPLATE),
            ("updateStrategy", Any),
            ("minReadySeconds", Number),
            ("revisionHistoryLimit", Any),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("currentNumberScheduled", KeptNumber),
            ("numberMisscheduled", KeptNumber),
            ("desiredNumberScheduled", KeptNumber),
            ("numberReady", KeptNumber),
            ("observedGeneration", Number),
            ("updatedNumberScheduled", Number),
            ("numberAvailable", Number),
            ("numberUnavailable", Number),
            ("collisionCount", Any),
            ("conditions", Keyed("type", &CONDITION)),
        ]),
    ),
]);

/// Deployment.
pub(crate) static DEPLOYMENT: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("replicas", Any),
            ("selector", Any),
            ("template", TEMPLATE),
            ("strategy", Any),
            ("minReadySeconds", Number),
            ("revisionHistoryLimit", Any),
            ("paused", Flag),
            ("progressDeadlineSeconds", Any),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("observedGeneration", Number),
            ("replicas", Number),
            ("updatedReplicas", Number),
            ("readyReplicas", Number),
            ("availableReplicas", Number),
            ("unavailableReplicas", Number),
            ("terminatingReplicas", Any),
            ("conditions", Keyed("type", &CONDITION)),
            ("collisionCount", Any),
        ]),
    ),
]);

/// Job.
pub(crate) static JOB: Schema = Struct(&[
    ("metadata", METADATA),
    (
        "spec",
        Struct(&[
            ("parallelism", Any),
            ("completions", Any),
            ("activeDeadlineSeconds", Any),
            ("podFailurePolicy", Any),
            ("successPolicy", Any),
            ("backoffLimit", Any),
            ("backoffLimitPerIndex", Any),
            ("maxFailedIndexes", Any),
            ("selector", Any),
            ("manualSelector", Any),
            ("template", TEMPLATE),
            ("ttlSecondsAfterFinished", Any),
            ("completionMode", Any),
            ("suspend", Any),
            ("podReplacementPolicy", Any),
            ("managedBy", Any),
        ]),
    ),
    (
        "status",
        Struct(&[
            ("conditions", Any),
            ("startTime", Text),
            ("completionTime", Text),
            ("active", Number),
            ("succeeded", Number),
            ("failed", Number),
            ("terminating", Any),
            ("completedIndexes", Text),
            ("failedIndexes", Any),
            ("uncountedTerminatedPods", Any),
            ("ready", Any),
        ]),
    ),
]);
