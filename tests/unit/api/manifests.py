"""The table of manifests: what is accepted, and what is refused with which words. Used here and against a real API server."""

from unit.api.cases import MINIMAL, SCRIPT, Change, Invalid, Malformed, Valid, checkpoint, dump, template, training, yaml
from unit.api.refused import INVALID

__all__ = ["CHANGES", "INVALID", "MALFORMED", "MINIMAL", "TEMPLATE", "VALID", "Change", "Invalid", "Malformed", "Valid", "dump", "yaml"]

TEMPLATE = """
spec:
  workers:
    template:
      metadata: {labels: {team: vision, example.com/cost: "7"}, annotations: {example.com/note: any text}}
      resources: {requests: {cpu: 2, memory: 4Gi, example.com/nic: 1}, limits: {cpu: "2.5", memory: 8Gi}, claims: [{name: gpu}]}
      env: [{name: LEVEL, value: "3"}, {name: KEY, valueFrom: {secretKeyRef: {name: keys, key: wandb}}}]
      envFrom: [{configMapRef: {name: settings}, prefix: APP_}]
      volumes:
      - {name: data, persistentVolumeClaim: {claimName: data, readOnly: true}}
      - {name: scratch, emptyDir: {medium: Memory, sizeLimit: 1Gi}}
      - {name: plain, emptyDir: {}}
      - {name: certificates, secret: {secretName: certificates, defaultMode: 288, items: [{key: ca, path: ca.pem}]}}
      volumeMounts: [{name: data, mountPath: /data, readOnly: true}, {name: scratch, mountPath: /scratch, subPath: a}]
      nodeSelector: {gpu.example.com/model: h100}
      affinity:
        nodeAffinity:
          requiredDuringSchedulingIgnoredDuringExecution:
            nodeSelectorTerms: [{matchExpressions: [{key: zone, operator: In, values: [a, b]}]}]
        podAntiAffinity:
          preferredDuringSchedulingIgnoredDuringExecution:
          - {weight: 10, podAffinityTerm: {topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {team: vision}}}}
      tolerations: [{key: nvidia.com/gpu, operator: Exists, effect: NoSchedule}]
      topologySpreadConstraints: [{maxSkew: 1, topologyKey: topology.kubernetes.io/zone, whenUnsatisfiable: ScheduleAnyway}]
      resourceClaims: [{name: gpu, resourceClaimTemplateName: one-gpu}]
      schedulerName: volcano
      priorityClassName: high
      runtimeClassName: nvidia
      serviceAccountName: trainer
      imagePullSecrets: [{name: registry}]
      imagePullPolicy: IfNotPresent
      terminationGracePeriodSeconds: 120
      securityContext: {runAsUser: 1000, fsGroup: 1000, readOnlyRootFilesystem: true}
"""

VALID = (
    Valid("minimal"),
    Valid("script", SCRIPT),
    Valid("script-with-threads", "{spec: {training: {task: null, epochs: null, script: {command: [python, train.py, '']}, threads: 4}}}"),
    Valid("steps-instead-of-epochs", training("{epochs: null, steps: 500}")),
    Valid("elastic", "{spec: {workers: {replicas: 4, minReplicas: 2, maxReplicas: 8, spares: 1}}}"),
    Valid("gpus", "{spec: {workers: {gpus: 8, processesPerWorker: 8, gpuResourceName: amd.com/gpu}}}"),
    Valid("learning-rate-in-scientific-notation", training("{optimizer: {name: SGD, learningRate: 1e-3}}")),
    Valid("momentum", training("{optimizer: {name: Momentum, learningRate: 1, momentum: 0.95}}")),
    Valid("step-schedule", training("{schedule: {name: Step, stepEvery: 100, factor: 0.5}}")),
    Valid("deterministic-lanes", training("{reduction: Deterministic, lanes: 12}")),
    Valid("early-stopping", training("{earlyStopping: {metric: accuracy, mode: Maximise, patience: 5, minimumDelta: 0.001}}")),
    Valid("no-held-out-data", training("{split: {validation: 0, test: 0}}")),
    Valid("parameters", training('{task: {parameters: {hidden: [64, 32], dropout: 0.5, activation: "relu", bias: true, note: yes}}}')),
    Valid("nested-parameters", training("{task: {parameters: {a: {b: [1, {c: null}], d: {}}, e: [[1, 2], [x]], f: []}}}")),
    Valid("null-parameter", "{spec: {training: {task: {parameters: {a: null}}}}}"),
    Valid("clipping", training("{regularisation: {l1: 1e-5, gradientClipNorm: 1.0}, microBatchSize: 16}")),
    Valid("save-by-time", checkpoint("{everySeconds: 60, keep: 5, allowChanges: true}")),
    Valid(
        "own-s3-store",
        checkpoint('{storage: {endpointUrl: "http://minio:9000", region: eu-west-1, credentialsSecretName: s3-credentials}}'),
    ),
    Valid("file-storage", checkpoint('{storage: {uri: "file:///checkpoints/a job"}}')),
    Valid("storage-in-another-script", checkpoint('{storage: {uri: "s3://bucket/日本/データ"}}')),
    Valid("google-storage", checkpoint('{storage: {uri: "gs://bucket"}}')),
    Valid("azure-storage", checkpoint('{storage: {uri: "az://container/path/"}}')),
    Valid(
        "recovery",
        "{spec: {recovery: {maxFailures: 0, heartbeatTimeoutSeconds: 1.5, rules: [{exitCodes: [42], action: Fail}]},"
        " divergence: {onNonFinite: Ignore}}}",
    ),
    Valid("rollback", "{spec: {rollback: {toStep: 400, request: '2026-11-22-a'}}}"),
    Valid(
        "ends",
        "{spec: {suspend: true, managedBy: example.com/other, activeDeadlineSeconds: 86400,"
        " ttlSecondsAfterFinished: 0, podRetention: Always}}",
    ),
    Valid(
        "network",
        "{spec: {network: {egress: [{cidr: 0.0.0.0/0, except: [169.254.169.254/32], ports: [443]}, {cidr: '2001:db8::/32'},"
        " {namespace: storage, podLabels: {app: minio}, ports: [9000]}]}}}",
    ),
    Valid("no-egress", "{spec: {network: {egress: []}}}"),
    Valid("template", TEMPLATE),
)

MALFORMED = (
    Malformed("tab", MINIMAL.replace("  training", "\ttraining"), "job.yaml, line 6: is not YAML: a tab cannot indent; use spaces"),
    Malformed("open-bracket", "a: [1, 2", "job.yaml, line 1: is not YAML: expected ',' or ']'"),
    Malformed(
        "duplicate-key", MINIMAL + "  suspend: false\n  suspend: true\n", 'job.yaml, line 12: the key is there twice: "suspend"; keep one'
    ),
    Malformed("control-character", "a: b\nc: \x01", "job.yaml, line 2: holds the character U+0001"),
    Malformed("empty", "", "job.yaml is empty; docs/api.md says"),
    Malformed("only-a-comment", "# nothing\n", "job.yaml is empty"),
    Malformed("two-documents", MINIMAL + "---" + MINIMAL, "job.yaml holds 2 TrainingJobs: digits, digits; choose one with --name"),
    Malformed("a-list", "- 1\n- 2\n", "job.yaml holds no map of fields; it should begin with apiVersion: batch.trainingjob.dev/v1alpha1"),
    Malformed("no-kind", MINIMAL.replace("kind: TrainingJob", ""), "job.yaml: kind is missing; add kind: TrainingJob"),
    Malformed("other-kind", MINIMAL.replace("kind: TrainingJob", "kind: Job"), "job.yaml: kind is 'Job'; it must be TrainingJob"),
    Malformed(
        "other-version",
        MINIMAL.replace("v1alpha1", "v2"),
        "apiVersion is 'batch.trainingjob.dev/v2'; it must be batch.trainingjob.dev/v1alpha1",
    ),
    Malformed("python-object", "a: !!python/object:os.system {}", "job.yaml, line 1: is not YAML: could not determine a constructor"),
    Malformed("unknown-alias", "a: *b", "job.yaml, line 1: is not YAML: found undefined alias"),
    Malformed("deeper-than-sense", "[" * 3000, "job.yaml: is not YAML"),
)

CHANGES = (
    Change("more-replicas", "{}", "{spec: {workers: {replicas: 3}}}"),
    Change("suspend", "{}", "{spec: {suspend: true}}"),
    Change("go-on", "{spec: {suspend: true}}", "{spec: {suspend: false}}"),
    Change("rollback", "{}", "{spec: {rollback: {toStep: 4, request: a}}}"),
    Change("image-while-running", "{spec: {image: a}}", "{spec: {image: b}}", "spec.image can be changed only while suspend is true"),
    Change("image-taken-away", "{spec: {image: a}}", "{spec: {image: null}}", "spec.image can be changed only while suspend is true"),
    Change("image-added", "{}", "{spec: {image: a}}", "spec.image can be changed only while suspend is true"),
    Change("image-while-suspended", "{spec: {suspend: true, image: a}}", "{spec: {image: b}}"),
    Change("image-with-going-on", "{spec: {suspend: true, image: a}}", "{spec: {suspend: false, image: b}}"),
    Change("image-with-suspending", "{spec: {image: a}}", "{spec: {suspend: true, image: b}}", "spec.image can be changed only while"),
    Change("rate-while-suspended", "{spec: {suspend: true}}", training("{optimizer: {learningRate: 0.01}}")),
    Change("rate-while-running", "{}", training("{optimizer: {learningRate: 0.01}}"), "spec.training.optimizer can be changed only while"),
    Change("optimizer", "{spec: {suspend: true}}", training("{optimizer: {name: SGD}}"), "spec.training.optimizer.name cannot be changed"),
    Change("seed", "{spec: {suspend: true}}", training("{seed: 8}"), "spec.training.seed cannot be changed; make a new job"),
    Change(
        "parameter",
        training("{task: {parameters: {a: 1}}}"),
        training("{task: {parameters: {a: 2}}}"),
        "spec.training.task cannot be changed",
    ),
    Change(
        "parameter-in-a-list",
        training("{task: {parameters: {a: [1]}}}"),
        training("{task: {parameters: {a: [2]}}}"),
        "spec.training.task cannot",
    ),
    Change("uri", "{spec: {suspend: true}}", checkpoint("{storage: {uri: 's3://other'}}"), "spec.checkpoint.storage.uri cannot be changed"),
    Change("credentials-while-suspended", "{spec: {suspend: true}}", checkpoint("{storage: {credentialsSecretName: a}}")),
    Change("default-written-out", "{}", "{spec: {suspend: false, checkpoint: {keep: 3}, training: {seed: 0, reduction: Fast}}}"),
    Change("template", "{}", template("{env: [{name: A, value: b}]}"), "spec.workers.template can be changed only while suspend is true"),
    Change("network", "{}", "{spec: {network: {egress: []}}}", "spec.network can be changed only while suspend is true"),
    Change("network-while-suspended", "{spec: {suspend: true}}", "{spec: {network: {egress: []}}}"),
    Change("manager", "{}", "{spec: {managedBy: example.com/other}}", "spec.managedBy cannot be changed"),
)
