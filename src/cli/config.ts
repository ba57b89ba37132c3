/**
 * Flags and environment -> one frozen `AgentConfig`. Every default, unit and allowed value of the agent is in the table
 * `AGENT_FLAGS`; help, completion, documentation checks and the parser all read that table.
 */
import { BACKENDS, type Mode } from '../core/vocabulary.ts';
import {
  type Environment,
  type Flag,
  type Given,
  locate,
  requiredValue,
  UsageProblem,
  optionalValue,
} from './flags.ts';
import { DATAPLANES } from '../dataplane/dataplane-chooser.ts';
import { formatListenAddress, type ListenAddress } from '../telemetry/health.ts';
import { type HostPort, hostPortText } from '../net/host-port.ts';
import { LOG_LEVELS, type LogLevel } from '../telemetry/log.ts';
import {
  integer,
  MIN_CONNMARK_BITS,
  oneOf,
  readBoolean,
  type Reader,
  readFileOrOff,
  readInterfacePrefix,
  readInterfacePrefixes,
  readListenAddress,
  readMask,
  readNodeName,
  readTargets,
  readText,
  readTokenFile,
} from './read-value.ts';

/** The modes an agent can be started in. */
export const START_MODES = ['enforce', 'audit', 'dry-run'] as const satisfies readonly Mode[];
export type StartMode = (typeof START_MODES)[number];

export const DATAPLANE_CHOICES = ['auto', ...DATAPLANES] as const;
export type DataplaneChoice = (typeof DATAPLANE_CHOICES)[number];
const BACKEND_CHOICES = ['auto', ...BACKENDS] as const;
type BackendChoice = (typeof BACKEND_CHOICES)[number];

const NEW_PODS_CHOICES = ['open', 'closed'] as const;
type NewPodsChoice = (typeof NEW_PODS_CHOICES)[number];

/** How the API server is reached. */
type ApiAccess =
  | { readonly kind: 'kubeconfig'; readonly path: string }
  /** A folder with `token`, `ca.crt` and `namespace`, as mounted into every pod. */
  | { readonly kind: 'service-account'; readonly dir: string };

export interface AgentConfig {
  readonly nodeName: string;
  readonly apiAccess: ApiAccess;
  /** The API server's own addresses, tried when the one it is known by leads nowhere. */
  readonly apiServers: readonly HostPort[];
  /** Where those found in the cluster are remembered; null: nowhere. */
  readonly apiServerEndpointsFile: string | null;
  readonly mode: Mode;
  readonly dataplane: DataplaneChoice;
  readonly backend: BackendChoice;
  /** Null: no HTTP server. */
  readonly httpAddress: ListenAddress | null;
  /** For other hosts; null: all pages are at `httpAddress` only. */
  readonly metricsAddress: ListenAddress | null;
  /** Null: /metrics, /status and /plan are shown to everybody who reaches the address. */
  readonly httpTokenFile: string | null;
  /** 0: never unready for this. */
  readonly readyMaxStalenessMs: number;
  readonly logLevel: LogLevel;
  readonly trunkInterfacePrefix: string;
  readonly newPods: NewPodsChoice;
  /** Null: not read. */
  readonly vpcCniCheckpoint: string | null;
  /** How the names of pods' interfaces begin on their node. */
  readonly podInterfacePrefixes: readonly string[];
  /** Contiguous bits of the connection mark, unsigned; null: the mark is not used, changes reach new connections only. */
  readonly connmarkMask: number | null;
  readonly nflogGroup: number;
  /** Denied flows are told in the log, as far as rules log them. */
  readonly dropLog: boolean;
  /** Log records per second and final drop rule; 0: drops are counted, not logged. */
  readonly dropLogRatePerSecond: number;
  readonly resyncIntervalMs: number;
  /** Of one core, 0..1. */
  readonly syncShare: number;
  readonly minGapMs: number;
  readonly xtablesLockWaitSeconds: number;
  readonly policyCounters: boolean;
  /** Null: counts end with the agent. */
  readonly policyCountersFile: string | null;
  /** Problems with objects and audited policies are told as Events on them. */
  readonly events: boolean;
  /** Count as ready although kube-proxy's IPVS mode sends service traffic past the rules. */
  readonly allowKubeProxyIpvs: boolean;
}

/** Each can be given by its variable as well. */
interface AgentFlag<T> extends Flag<T> {
  readonly env: string;
  readonly placeholder: string;
}

const SERVICE_ACCOUNT_DIR = '/var/run/secrets/kubernetes.io/serviceaccount';
/** xt_limit counts in ten-thousandths of a second (XT_LIMIT_SCALE). */
const MAX_LIMIT_PER_SECOND = 10_000;

export const AGENT_FLAGS = {
  nodeName: flag(
    'node-name',
    'NODE_NAME',
    '<name>',
    undefined,
    'name of the Node object this agent works for; required',
    readNodeName,
  ),
  kubeconfig: flag(
    'kubeconfig',
    'KUBECONFIG',
    '<file>',
    undefined,
    'kubeconfig file to reach the API server with, instead of a service account',
    readText,
  ),
  serviceAccountDir: flag(
    'service-account-dir',
    'PORTCULLIS_SERVICE_ACCOUNT_DIR',
    '<folder>',
    SERVICE_ACCOUNT_DIR,
    'folder with the token and CA certificate of a service account',
    readText,
  ),
  apiServer: flag(
    'api-server',
    'PORTCULLIS_API_SERVER',
    '<host:port,...>',
    undefined,
    "the API server's own addresses, tried when its service address leads nowhere (after a reboot, before kube-proxy has run); " +
      'their certificate must be that of the service address',
    readTargets,
  ),
  apiServerEndpointsFile: flag(
    'api-server-endpoints-file',
    'PORTCULLIS_API_SERVER_ENDPOINTS_FILE',
    '<file>',
    '/var/lib/portcullis/api-server-endpoints.json',
    'where such addresses, read from the EndpointSlice default/kubernetes, are kept for the next reboot, or off; ' +
      'its folder must exist',
    readFileOrOff,
  ),
  mode: flag(
    'mode',
    'PORTCULLIS_MODE',
    '<mode>',
    'enforce',
    `${START_MODES.join(', ')}: drop what policies deny; only count and log it; or have no rules and show the plan`,
    oneOf(START_MODES),
  ),
  dataplane: flag(
    'dataplane',
    'PORTCULLIS_DATAPLANE',
    '<dataplane>',
    'auto',
    `${DATAPLANE_CHOICES.join(', ')}: what enforces policies; auto takes nftables where the host has all that it needs, and moves with the host; ` +
      'rules of the other one are taken out once those of this one stand',
    oneOf(DATAPLANE_CHOICES),
  ),
  backend: flag(
    'backend',
    'PORTCULLIS_BACKEND',
    '<backend>',
    'auto',
    `${BACKEND_CHOICES.join(', ')}: which iptables to write to; auto follows the kubelet's own chains`,
    oneOf(BACKEND_CHOICES),
  ),
  httpAddress: flag(
    'http-address',
    'PORTCULLIS_HTTP_ADDRESS',
    '<host:port>',
    '127.0.0.1:9847',
    'where /healthz, /readyz, /status, /trace, /metrics, /plan, /denials and /flows are served ([...] around an IPv6 address): ' +
      'host:port, :port for all addresses, unix:/path of a socket that only root may use, or off',
    readListenAddress,
  ),
  metricsAddress: flag(
    'metrics-address',
    'PORTCULLIS_METRICS_ADDRESS',
    '<host:port>',
    'off',
    'where /metrics, /status, /trace and /healthz are served besides, and with --http-token-file /plan, /denials and /flows, for other hosts; ' +
      'forms as in --http-address',
    readListenAddress,
  ),
  httpTokenFile: flag(
    'http-token-file',
    'PORTCULLIS_HTTP_TOKEN_FILE',
    '<file>',
    'none',
    'file with a token that /metrics, /status, /trace, /plan, /denials and /flows then ask for (Authorization: Bearer ...); ' +
      'none: every process in the host network can read them',
    readTokenFile,
  ),
  readyMaxStaleness: flag(
    'ready-max-staleness',
    'PORTCULLIS_READY_MAX_STALENESS',
    '<seconds>',
    '0',
    'not ready when changes have not arrived for so long, up to 86400; 0: stays ready, as the rules stand',
    integer(0, 86_400, ' seconds'),
  ),
  logLevel: flag(
    'log-level',
    'PORTCULLIS_LOG_LEVEL',
    '<level>',
    'info',
    `${LOG_LEVELS.join(', ')}; one JSON object per line on stdout`,
    oneOf(LOG_LEVELS),
  ),
  trunkInterfacePrefix: flag(
    'trunk-interface-prefix',
    'PORTCULLIS_TRUNK_INTERFACE_PREFIX',
    '<prefix>',
    'vlan.eth.',
    'the node reaches its own pods unhindered when its packets come in by an interface with this prefix ' +
      '(VPC CNI security groups for pods)',
    readInterfacePrefix,
  ),
  newPods: flag(
    'new-pods',
    'PORTCULLIS_NEW_PODS',
    '<choice>',
    'open',
    `${NEW_PODS_CHOICES.join(', ')}: a pod whose rules are not in yet may do anything; or it can neither send nor be reached, but ` +
      'by its node',
    oneOf(NEW_PODS_CHOICES),
  ),
  vpcCniCheckpoint: flag(
    'vpc-cni-checkpoint',
    'PORTCULLIS_VPC_CNI_CHECKPOINT',
    '<file>',
    'off',
    "checkpoint file of the VPC CNI (/var/run/aws-node/ipam.json), which tells a new pod's address before the API does, or off",
    (text) => ({ value: text === 'off' ? null : text }),
  ),
  podInterfacePrefix: flag(
    'pod-interface-prefix',
    'PORTCULLIS_POD_INTERFACE_PREFIX',
    '<prefixes>',
    'eni,vlan,veth,cali',
    "how the names of pods' interfaces begin on their node, parted by commas; what such an interface sends from an address " +
      "that is not its pod's is judged as the pod's all the same",
    readInterfacePrefixes,
  ),
  connmarkMask: flag(
    'connmark-mask',
    'PORTCULLIS_CONNMARK_MASK',
    '<hex>',
    '0xff000000',
    `bits of the connection mark the agent may use: at least ${MIN_CONNMARK_BITS} in a row; ` +
      'none: leave the mark alone, and a tightened policy reaches new connections only',
    readMask,
  ),
  nflogGroup: flag(
    'nflog-group',
    'PORTCULLIS_NFLOG_GROUP',
    '<number>',
    '9847',
    'netfilter log group for denied packets, 0 to 65535; the default is the HTTP port again, ' +
      'far from the low groups that ulogd and other agents use',
    integer(0, 65_535, ''),
  ),
  dropLog: flag(
    'drop-log',
    'PORTCULLIS_DROP_LOG',
    '<true|false>',
    'true',
    'true: the log and /denials tell of each denied flow once a minute, with the policies that isolate and what of their rules does not hold; ' +
      'needs ulogd',
    readBoolean,
  ),
  dropLogRate: flag(
    'drop-log-rate',
    'PORTCULLIS_DROP_LOG_RATE',
    '<number>',
    '10',
    `denied packets logged per second and policy group, 0 to ${MAX_LIMIT_PER_SECOND}; 0: counted, not logged`,
    integer(0, MAX_LIMIT_PER_SECOND, ' per second'),
  ),
  resyncInterval: flag(
    'resync-interval',
    'PORTCULLIS_RESYNC_INTERVAL',
    '<seconds>',
    '60',
    'how often the kernel is compared with what it should hold, 1 to 86400, jittered',
    integer(1, 86_400, ' seconds'),
  ),
  syncShare: flag(
    'sync-share',
    'PORTCULLIS_SYNC_SHARE',
    '<percent>',
    '20',
    'of one core, what syncs may use in the long run, 1 to 100; the first on a quiet node start at once, later ones pause for what ' +
      'the last ones used, a quarter of a second at most',
    integer(1, 100, ' percent'),
  ),
  minGap: flag(
    'min-gap-ms',
    'PORTCULLIS_MIN_GAP_MS',
    '<milliseconds>',
    '0',
    'least pause between two syncs whatever they use, 0 to 60000; changes that come meanwhile are taken together',
    integer(0, 60_000, ' milliseconds'),
  ),
  xtablesLockWait: flag(
    'xtables-lock-wait',
    'PORTCULLIS_XTABLES_LOCK_WAIT',
    '<seconds>',
    '5',
    'how long one commit waits for the xtables lock, 1 to 300',
    integer(1, 300, ' seconds'),
  ),
  policyCounters: flag(
    'policy-counters',
    'PORTCULLIS_POLICY_COUNTERS',
    '<true|false>',
    'true',
    'true: metrics tell what each policy let through and denied, read from the rules every 15 seconds and with each scrape',
    readBoolean,
  ),
  policyCountersFile: flag(
    'policy-counters-file',
    'PORTCULLIS_POLICY_COUNTERS_FILE',
    '<file>',
    '/run/portcullis/policy-counters.json',
    'where these counts are kept for the next agent of this boot, or off; its folder must exist',
    readFileOrOff,
  ),
  events: flag(
    'events',
    'PORTCULLIS_EVENTS',
    '<true|false>',
    'true',
    'true: what is wrong with a policy, namespace, pod or node, and which policies are audited, is told as Events on them, ' +
      'by one agent for all',
    readBoolean,
  ),
  allowKubeProxyIpvs: flag(
    'allow-kube-proxy-ipvs',
    'PORTCULLIS_ALLOW_KUBE_PROXY_IPVS',
    '<true|false>',
    'false',
    'true: a node whose kube-proxy runs in IPVS mode counts as ready, though policies are wrong for service addresses there',
    readBoolean,
  ),
} as const;

/**
 * Reads the agent's configuration. Flags win over the environment, the environment over defaults; an empty environment
 * variable counts as absent; of a repeated flag the last counts. Throws `UsageProblem`.
 */
export function readAgentConfig(given: Given, env: Environment): AgentConfig {
  return Object.freeze(buildConfig(given, env));
}

/** The effective configuration as flat fields for the first log line, under the flags' names. Holds nothing secret. */
export function describeConfig(config: AgentConfig): Readonly<Record<string, string | number>> {
  const access = config.apiAccess;
  return {
    'node-name': config.nodeName,
    ...(access.kind === 'kubeconfig' ? { kubeconfig: access.path } : { 'service-account-dir': access.dir }),
    ...(config.apiServers.length === 0 ? {} : { 'api-server': config.apiServers.map(hostPortText).join(',') }),
    'api-server-endpoints-file': config.apiServerEndpointsFile ?? 'off',
    mode: config.mode,
    dataplane: config.dataplane,
    backend: config.backend,
    'http-address': config.httpAddress === null ? 'off' : formatListenAddress(config.httpAddress),
    'metrics-address': config.metricsAddress === null ? 'off' : formatListenAddress(config.metricsAddress),
    'http-token-file': config.httpTokenFile ?? 'none',
    'ready-max-staleness': config.readyMaxStalenessMs / 1000,
    'log-level': config.logLevel,
    'trunk-interface-prefix': config.trunkInterfacePrefix,
    'new-pods': config.newPods,
    'vpc-cni-checkpoint': config.vpcCniCheckpoint ?? 'off',
    'pod-interface-prefix': config.podInterfacePrefixes.join(','),
    'connmark-mask': config.connmarkMask === null ? 'none' : `0x${config.connmarkMask.toString(16).padStart(8, '0')}`,
    'nflog-group': config.nflogGroup,
    'drop-log': String(config.dropLog),
    'drop-log-rate': config.dropLogRatePerSecond,
    'resync-interval': config.resyncIntervalMs / 1000,
    'sync-share': Math.round(config.syncShare * 100),
    'min-gap-ms': config.minGapMs,
    'xtables-lock-wait': config.xtablesLockWaitSeconds,
    'policy-counters': String(config.policyCounters),
    'policy-counters-file': config.policyCountersFile ?? 'off',
    events: String(config.events),
    'allow-kube-proxy-ipvs': String(config.allowKubeProxyIpvs),
  };
}

function buildConfig(given: Given, env: Environment): AgentConfig {
  const value = <T>(of: Flag<T>): T => requiredValue(of, given, env);
  return {
    nodeName: value(AGENT_FLAGS.nodeName),
    apiAccess: Object.freeze(chooseApiAccess(given, env)),
    apiServers: Object.freeze(optionalValue(AGENT_FLAGS.apiServer, given, env) ?? []),
    apiServerEndpointsFile: value(AGENT_FLAGS.apiServerEndpointsFile),
    mode: value(AGENT_FLAGS.mode),
    dataplane: value(AGENT_FLAGS.dataplane),
    backend: value(AGENT_FLAGS.backend),
    httpAddress: value(AGENT_FLAGS.httpAddress),
    metricsAddress: value(AGENT_FLAGS.metricsAddress),
    httpTokenFile: value(AGENT_FLAGS.httpTokenFile),
    readyMaxStalenessMs: value(AGENT_FLAGS.readyMaxStaleness) * 1000,
    logLevel: value(AGENT_FLAGS.logLevel),
    trunkInterfacePrefix: value(AGENT_FLAGS.trunkInterfacePrefix),
    newPods: value(AGENT_FLAGS.newPods),
    vpcCniCheckpoint: value(AGENT_FLAGS.vpcCniCheckpoint),
    podInterfacePrefixes: value(AGENT_FLAGS.podInterfacePrefix),
    connmarkMask: value(AGENT_FLAGS.connmarkMask),
    nflogGroup: value(AGENT_FLAGS.nflogGroup),
    dropLog: value(AGENT_FLAGS.dropLog),
    dropLogRatePerSecond: value(AGENT_FLAGS.dropLogRate),
    resyncIntervalMs: value(AGENT_FLAGS.resyncInterval) * 1000,
    syncShare: value(AGENT_FLAGS.syncShare) / 100,
    minGapMs: value(AGENT_FLAGS.minGap),
    xtablesLockWaitSeconds: value(AGENT_FLAGS.xtablesLockWait),
    policyCounters: value(AGENT_FLAGS.policyCounters),
    policyCountersFile: value(AGENT_FLAGS.policyCountersFile),
    events: value(AGENT_FLAGS.events),
    allowKubeProxyIpvs: value(AGENT_FLAGS.allowKubeProxyIpvs),
  };
}

/** A flag beats the other one's environment variable; both from one source is a contradiction. */
function chooseApiAccess(given: Given, env: Environment): ApiAccess {
  const { kubeconfig, serviceAccountDir } = AGENT_FLAGS;
  const file = locate(kubeconfig, given, env);
  const folder = locate(serviceAccountDir, given, env);
  if (file && folder && file.fromFlag === folder.fromFlag) {
    throw new UsageProblem(`${file.source} and ${folder.source} exclude each other: give one`);
  }
  if (file && (file.fromFlag || !folder)) return { kind: 'kubeconfig', path: file.text };
  return { kind: 'service-account', dir: folder?.text ?? SERVICE_ACCOUNT_DIR };
}

function flag<T>(
  name: string,
  env: string,
  placeholder: string,
  defaultText: string | undefined,
  help: string,
  read: Reader<T>,
): AgentFlag<T> {
  return { name, env, placeholder, help, read, ...(defaultText === undefined ? {} : { defaultText }) };
}
