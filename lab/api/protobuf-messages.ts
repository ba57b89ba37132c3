/** Field numbers of the messages kubectl sends in protobuf form, by the Go API types' generated definitions. Pure data. */

export type ProtoType =
  /** With `?` a zero that was written is kept; without, zero means that nobody set the field. */
  | 'string'
  | 'int'
  | 'int?'
  | 'bool'
  | 'bool?'
  | 'int-or-string'
  | { readonly list: ProtoType }
  | { readonly map: 'string' | 'bytes' }
  /** An empty message is kept only if `optional`. */
  | { readonly message: Message; readonly optional?: boolean };

export type Message = Readonly<Record<number, readonly [string, ProtoType]>>;

const STRINGS: ProtoType = { list: 'string' };
const MAP: ProtoType = { map: 'string' };
const messages = (message: Message): ProtoType => ({ list: { message } });

const OWNER_REFERENCE: Message = {
  1: ['kind', 'string'],
  3: ['name', 'string'],
  4: ['uid', 'string'],
  5: ['apiVersion', 'string'],
  6: ['controller', 'bool?'],
  7: ['blockOwnerDeletion', 'bool?'],
};

const METADATA: ProtoType = {
  message: {
    1: ['name', 'string'],
    2: ['generateName', 'string'],
    3: ['namespace', 'string'],
    5: ['uid', 'string'],
    6: ['resourceVersion', 'string'],
    11: ['labels', MAP],
    12: ['annotations', MAP],
    13: ['ownerReferences', messages(OWNER_REFERENCE)],
    14: ['finalizers', STRINGS],
  },
};

const SELECTOR: Message = {
  1: ['matchLabels', MAP],
  2: ['matchExpressions', messages({ 1: ['key', 'string'], 2: ['operator', 'string'], 3: ['values', STRINGS] })],
};

const LABEL_SELECTOR: ProtoType = { message: SELECTOR, optional: true };

const CONTAINER: Message = {
  1: ['name', 'string'],
  2: ['image', 'string'],
  3: ['command', STRINGS],
  4: ['args', STRINGS],
  5: ['workingDir', 'string'],
  6: [
    'ports',
    messages({
      1: ['name', 'string'],
      2: ['hostPort', 'int'],
      3: ['containerPort', 'int'],
      4: ['protocol', 'string'],
      5: ['hostIP', 'string'],
    }),
  ],
  7: ['env', messages({ 1: ['name', 'string'], 2: ['value', 'string'] })],
  14: ['imagePullPolicy', 'string'],
  24: ['restartPolicy', 'string'],
};

const POD_SPEC: ProtoType = {
  message: {
    2: ['containers', messages(CONTAINER)],
    3: ['restartPolicy', 'string'],
    4: ['terminationGracePeriodSeconds', 'int?'],
    5: ['activeDeadlineSeconds', 'int?'],
    6: ['dnsPolicy', 'string'],
    7: ['nodeSelector', MAP],
    8: ['serviceAccountName', 'string'],
    10: ['nodeName', 'string'],
    11: ['hostNetwork', 'bool'],
    16: ['hostname', 'string'],
    17: ['subdomain', 'string'],
    19: ['schedulerName', 'string'],
    20: ['initContainers', messages(CONTAINER)],
  },
};

const TEMPLATE: ProtoType = { message: { 1: ['metadata', METADATA], 2: ['spec', POD_SPEC] } };

const withSpec = (spec: Message): Message => ({ 1: ['metadata', METADATA], 2: ['spec', { message: spec }] });

const DEPLOYMENT = withSpec({
  1: ['replicas', 'int?'],
  2: ['selector', LABEL_SELECTOR],
  3: ['template', TEMPLATE],
  4: ['strategy', { message: { 1: ['type', 'string'] } }],
  5: ['minReadySeconds', 'int'],
  6: ['revisionHistoryLimit', 'int?'],
  7: ['paused', 'bool'],
  9: ['progressDeadlineSeconds', 'int?'],
});

const JOB = withSpec({
  1: ['parallelism', 'int?'],
  2: ['completions', 'int?'],
  3: ['activeDeadlineSeconds', 'int?'],
  4: ['selector', LABEL_SELECTOR],
  6: ['template', TEMPLATE],
  7: ['backoffLimit', 'int?'],
});

const SERVICE = withSpec({
  1: [
    'ports',
    messages({
      1: ['name', 'string'],
      2: ['protocol', 'string'],
      3: ['port', 'int'],
      4: ['targetPort', 'int-or-string'],
      5: ['nodePort', 'int'],
      6: ['appProtocol', 'string'],
    }),
  ],
  2: ['selector', MAP],
  3: ['clusterIP', 'string'],
  4: ['type', 'string'],
  5: ['externalIPs', STRINGS],
  7: ['sessionAffinity', 'string'],
  10: ['externalName', 'string'],
  11: ['externalTrafficPolicy', 'string'],
  13: ['publishNotReadyAddresses', 'bool'],
  17: ['ipFamilyPolicy', 'string'],
  18: ['clusterIPs', STRINGS],
  19: ['ipFamilies', STRINGS],
  22: ['internalTrafficPolicy', 'string'],
});

const PEERS = messages({
  1: ['podSelector', LABEL_SELECTOR],
  2: ['namespaceSelector', LABEL_SELECTOR],
  3: ['ipBlock', { message: { 1: ['cidr', 'string'], 2: ['except', STRINGS] }, optional: true }],
});

const POLICY_PORTS = messages({ 1: ['protocol', 'string'], 2: ['port', 'int-or-string'], 3: ['endPort', 'int?'] });

const NETWORK_POLICY = withSpec({
  1: ['podSelector', LABEL_SELECTOR],
  2: ['ingress', messages({ 1: ['ports', POLICY_PORTS], 2: ['from', PEERS] })],
  3: ['egress', messages({ 1: ['ports', POLICY_PORTS], 2: ['to', PEERS] })],
  4: ['policyTypes', STRINGS],
});

const ROLE: Message = {
  1: ['metadata', METADATA],
  2: [
    'rules',
    messages({
      1: ['verbs', STRINGS],
      2: ['apiGroups', STRINGS],
      3: ['resources', STRINGS],
      4: ['resourceNames', STRINGS],
      5: ['nonResourceURLs', STRINGS],
    }),
  ],
};

const BINDING: Message = {
  1: ['metadata', METADATA],
  2: [
    'subjects',
    messages({ 1: ['kind', 'string'], 2: ['apiGroup', 'string'], 3: ['name', 'string'], 4: ['namespace', 'string'] }),
  ],
  3: ['roleRef', { message: { 1: ['apiGroup', 'string'], 2: ['kind', 'string'], 3: ['name', 'string'] } }],
};

const DELETE_OPTIONS: Message = {
  1: ['gracePeriodSeconds', 'int?'],
  2: ['preconditions', { message: { 1: ['uid', 'string'], 2: ['resourceVersion', 'string'] } }],
  3: ['orphanDependents', 'bool?'],
  4: ['propagationPolicy', 'string'],
  5: ['dryRun', STRINGS],
};

const ACCESS_REVIEW = withSpec({
  1: [
    'resourceAttributes',
    {
      message: {
        1: ['namespace', 'string'],
        2: ['verb', 'string'],
        3: ['group', 'string'],
        4: ['version', 'string'],
        5: ['resource', 'string'],
        6: ['subresource', 'string'],
        7: ['name', 'string'],
      },
      optional: true,
    },
  ],
  2: ['nonResourceAttributes', { message: { 1: ['path', 'string'], 2: ['verb', 'string'] } }],
});

/** By kind. */
export const MESSAGES: Readonly<Record<string, Message>> = {
  Namespace: { 1: ['metadata', METADATA] },
  Pod: { 1: ['metadata', METADATA], 2: ['spec', POD_SPEC] },
  Service: SERVICE,
  Deployment: DEPLOYMENT,
  Job: JOB,
  ConfigMap: {
    1: ['metadata', METADATA],
    2: ['data', MAP],
    3: ['binaryData', { map: 'bytes' }],
    4: ['immutable', 'bool?'],
  },
  Secret: {
    1: ['metadata', METADATA],
    2: ['data', { map: 'bytes' }],
    3: ['type', 'string'],
    4: ['stringData', MAP],
    5: ['immutable', 'bool?'],
  },
  ServiceAccount: { 1: ['metadata', METADATA] },
  NetworkPolicy: NETWORK_POLICY,
  Role: ROLE,
  ClusterRole: ROLE,
  RoleBinding: BINDING,
  ClusterRoleBinding: BINDING,
  DeleteOptions: DELETE_OPTIONS,
  Eviction: { 1: ['metadata', METADATA], 2: ['deleteOptions', { message: DELETE_OPTIONS }] },
  SelfSubjectAccessReview: ACCESS_REVIEW,
};
