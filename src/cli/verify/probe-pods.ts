/** The pods that send and answer probes, as objects, and what their logs say. Pure. */
import { isRecord } from '../../policy/raw-values.ts';

/** By which namespaces and pods of any run are found. */
export const RUN_LABEL = 'app.kubernetes.io/managed-by';
export const RUN_LABEL_VALUE = 'portcullis-verify';
/** Of a namespace: from then on nobody needs it, RFC 3339. */
export const EXPIRES_ANNOTATION = 'portcullis.dev/verify-expires';
/** Of what sends probes. Its environment names the targets; the log of any other container is something else. */
export const PROBE_CONTAINER = 'portcullis-probe';
export const TARGETS_VARIABLE = 'TARGETS';

/** The port that policies may allow, and one that they never do. */
export const ALLOWED_PORT = 8080;
export const OTHER_PORT = 8081;

/** Needs nothing but an httpd; answers before anybody can have asked on both ports. */
const SERVE = `echo ok > /tmp/index.html; httpd -p ${OTHER_PORT} -h /tmp; exec httpd -f -p ${ALLOWED_PORT} -h /tmp`;
/**
 * A round is a connection to each target, side by side, and a line for each. Who is refused is answered at once, by the host or by a rule
 * that rejects; who is not answered within a second is blocked; where the client itself fails nothing is known.
 */
const PROBE = `round=0
while :; do
  round=$((round + 1))
  for target in $${TARGETS_VARIABLE}; do
    (
      timeout 1 wget -q -O /dev/null "http://$target/" 2>/dev/null
      case $? in 0) said=reached ;; 1) said=refused ;; 124 | 143) said=blocked ;; *) said=failed ;; esac
      echo "$round $target $said"
    ) &
  done
  wait
  echo "$round done"
  sleep 1
done`;

export interface PodPlan {
  readonly name: string;
  readonly node: string;
  readonly labels: Readonly<Record<string, string>>;
}

export function serverPod(plan: PodPlan, image: string): object {
  const ports = [ALLOWED_PORT, OTHER_PORT].map((containerPort) => ({ containerPort }));
  return podObject(plan, { name: 'server', image, command: ['sh', '-c', SERVE], ports });
}

/** Of a pod that is never ready: no Service sends to it. */
export const READY_GATE = { readinessGates: [{ conditionType: 'portcullis.dev/never-ready' }] } as const;

/** `metadata`, `spec`: more of them. */
export function probePod(
  plan: PodPlan,
  image: string,
  targets: readonly string[],
  metadata: object = {},
  spec: object = {},
): object {
  const env = [{ name: TARGETS_VARIABLE, value: targets.join(' ') }];
  return podObject(plan, { name: PROBE_CONTAINER, image, command: ['sh', '-c', PROBE], env }, metadata, spec);
}

/** As a namespace with the Pod Security Standard `restricted` takes it, on whatever node. */
function podObject(
  { name, node, labels }: PodPlan,
  container: object,
  metadata: object = {},
  spec: object = {},
): object {
  const securityContext = { allowPrivilegeEscalation: false, capabilities: { drop: ['ALL'] } };
  const resources = { requests: { cpu: '5m', memory: '8Mi' }, limits: { memory: '64Mi' } };
  return {
    apiVersion: 'v1',
    kind: 'Pod',
    metadata: { name, labels: { ...labels, [RUN_LABEL]: RUN_LABEL_VALUE }, ...metadata },
    spec: {
      nodeName: node,
      automountServiceAccountToken: false,
      enableServiceLinks: false,
      terminationGracePeriodSeconds: 1,
      tolerations: [{ operator: 'Exists' }],
      securityContext: { runAsNonRoot: true, runAsUser: 65_534, seccompProfile: { type: 'RuntimeDefault' } },
      containers: [{ ...container, securityContext, resources }],
      ...spec,
    },
  };
}

export type ProbeOutcome = 'reached' | 'blocked' | 'refused' | 'failed';

export interface Round {
  readonly number: number;
  readonly outcomes: ReadonlyMap<string, ProbeOutcome>;
}

/** The rounds that are whole, oldest first. Lines of anything else are passed over. */
export function readRounds(log: string, targets: readonly string[]): readonly Round[] {
  const open = new Map<number, Map<string, ProbeOutcome>>();
  const rounds: Round[] = [];
  for (const line of log.split('\n')) {
    const [, digits, target, said] = /^(\d+) (?:(\S+) (reached|blocked|refused|failed)|done)$/.exec(line) ?? [];
    if (digits === undefined) continue;
    const number = Number(digits);
    const outcomes = open.get(number) ?? new Map<string, ProbeOutcome>();
    open.set(number, outcomes);
    if (target !== undefined) outcomes.set(target, said as ProbeOutcome);
    else if (targets.every((each) => outcomes.has(each))) rounds.push({ number, outcomes });
  }
  return rounds;
}

/** The addresses that a pod shows, main family first. */
export function addressesOf(pod: unknown): readonly string[] {
  const status = isRecord(pod) && isRecord(pod.status) ? pod.status : {};
  const listed = Array.isArray(status.podIPs) ? status.podIPs : [];
  return listed.flatMap((entry) => (isRecord(entry) && typeof entry.ip === 'string' ? [entry.ip] : []));
}
