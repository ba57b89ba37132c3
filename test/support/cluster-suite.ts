/** The conformance suite of kubernetes-sigs/network-policy-api for ClusterNetworkPolicy, as data, and the cluster that it asks for. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import type { Family } from '../../src/core/vocabulary.ts';
import type { ClusterPolicy, ClusterSnapshot, LabelledNode, Namespace, Pod, Policy } from '../../src/policy/model.ts';
import { parseClusterPolicy } from '../../src/policy/parse-cluster-policy.ts';
import { namespace, parsedPolicy, pod, snapshot } from './builders.ts';

type Fields = Record<string, unknown>;
type RawRule = Fields & { action: string };
export interface RawPolicy {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly namespace?: string };
  readonly spec: { priority?: number; ingress?: RawRule[]; egress?: RawRule[] };
}
type Side = 'ingress' | 'egress';

export interface Step {
  readonly from?: string;
  readonly to?: string;
  readonly proto?: 'tcp' | 'udp' | 'sctp';
  readonly port?: number | string;
  readonly connect?: boolean;
  readonly mutate?: string;
  readonly swap?: readonly [Side, number, number];
  readonly setAction?: readonly [Side, number, string];
  readonly setProtocols?: readonly [Side, number, Fields];
  readonly setPriority?: number;
  readonly insertRuleAt0?: { readonly direction: Side; readonly action: string; readonly networks: readonly string[] };
  readonly setNamespaceLabels?: readonly [string, Record<string, string>];
  readonly deleteNetworkPolicy?: string;
}

export interface Suite {
  readonly policies: Readonly<Record<string, readonly RawPolicy[]>>;
  readonly tests: readonly {
    readonly name: string;
    readonly manifest: string;
    readonly runs: readonly { readonly run: string; readonly steps: readonly Step[] }[];
  }[];
}

/** The suite's ports of host-network pods: H0 and 90000 stand for the first. */
const FIRST_HOST_PORT = 34345;
export const SUITE = JSON.parse(
  readFileSync(new URL('../policy/cluster-conformance.json', import.meta.url), 'utf8'),
  (_key, value) => {
    if (typeof value === 'number' && value >= 90000 && value <= 90007) return value - 90000 + FIRST_HOST_PORT;
    return typeof value === 'string' && /^H[0-7]$/.test(value)
      ? FIRST_HOST_PORT + Number(value[1])
      : (value as unknown);
  },
) as Suite;

export const COLOURS = ['red', 'green', 'yellow', 'blue', 'host'] as const;
export const NODES = ['node-1', 'node-2'];

const nodeAddress = (index: number, family: Family): string =>
  family === 4 ? `10.0.0.${index + 1}` : `fd00:1::${index + 1}`;
const podAddress = (team: number, index: number, family: Family): string =>
  family === 4 ? `10.1.${team}.${index + 1}` : `fd00:2:${team}::${index + 1}`;

/** What the suite finds: five namespaces of a team each, with two pods each. */
export class Fixture {
  readonly #family: Family;
  readonly #raw: RawPolicy[];
  readonly #labels = new Map<string, Record<string, string>>(COLOURS.map((team) => [team, { team }]));

  readonly #addresses: ((name: string) => readonly string[]) | undefined;

  /** `addresses`: where pods have others than those of this fixture. */
  constructor(manifest: string, family: Family, addresses?: (name: string) => readonly string[]) {
    this.#addresses = addresses;
    this.#family = family;
    this.#raw = structuredClone(SUITE.policies[manifest]!) as RawPolicy[];
  }

  address(name: string): string {
    const [team = '', server = ''] = name.split('/');
    const index = Number(server.at(-1));
    if (team === 'host') return nodeAddress(index, this.#family);
    return podAddress(COLOURS.indexOf(team as (typeof COLOURS)[number]), index, this.#family);
  }

  change(step: Step): void {
    const { swap, setAction, setProtocols, setPriority, insertRuleAt0, setNamespaceLabels, deleteNetworkPolicy } = step;
    if (setNamespaceLabels) this.#labels.set(...setNamespaceLabels);
    if (deleteNetworkPolicy) {
      const at = this.#raw.findIndex(({ kind }) => kind === 'NetworkPolicy');
      assert.equal(this.#raw[at]?.metadata.name, deleteNetworkPolicy.split('/')[1]);
      this.#raw.splice(at, 1);
    }
    if (step.mutate === undefined) return;
    const { spec } = this.#raw.find(({ kind, metadata }) => kind !== 'NetworkPolicy' && metadata.name === step.mutate)!;
    const rules = (side: Side): RawRule[] => spec[side]!;
    if (swap) {
      const [side, a, b] = swap;
      [rules(side)[a], rules(side)[b]] = [rules(side)[b]!, rules(side)[a]!];
    }
    if (setAction) rules(setAction[0])[setAction[1]]!.action = setAction[2];
    if (setProtocols) rules(setProtocols[0])[setProtocols[1]]!.protocols = [setProtocols[2]];
    if (setPriority !== undefined) spec.priority = setPriority;
    if (insertRuleAt0) {
      const networks = insertRuleAt0.networks.flatMap((text) => {
        const [, name] = /^IP\((.*)\)\/32\|128$/.exec(text)!;
        return (this.#addresses?.(name!) ?? [this.address(name!)]).map(
          (address) => `${address}/${address.includes(':') ? 128 : 32}`,
        );
      });
      rules(insertRuleAt0.direction).unshift({ action: insertRuleAt0.action, to: [{ networks }] });
    }
  }

  get objects(): readonly RawPolicy[] {
    return this.#raw;
  }

  get labels(): ReadonlyMap<string, Record<string, string>> {
    return this.#labels;
  }

  snapshot(): ClusterSnapshot {
    const namespaces: Namespace[] = COLOURS.map((team) => namespace(`cnp-${team}`, this.#labels.get(team)));
    const pods = COLOURS.flatMap((team) => [0, 1].map((index) => this.#pod(team, index)));
    const clusterPolicies = new Map<string, ClusterPolicy>();
    const policies: Policy[] = [];
    for (const raw of this.#raw) {
      if (raw.kind === 'NetworkPolicy') policies.push(parsedPolicy(raw));
      else {
        const { policy, problems } = parseClusterPolicy(raw);
        assert.deepEqual(problems, []);
        clusterPolicies.set(raw.metadata.name, policy!);
      }
    }
    const nodes = NODES.map((name, index): LabelledNode => {
      return { name, addresses: [nodeAddress(index, this.#family)], labels: { 'kubernetes.io/os': 'linux' } };
    });
    const labelledNodes = new Map(nodes.map((node) => [node.name, node]));
    return { ...snapshot({ pods, namespaces, policies }), clusterPolicies, labelledNodes };
  }

  #pod(team: string, index: number): Pod {
    const name = team === 'host' ? `hostserver-${index}` : `server-${index}`;
    return pod(`cnp-${team}/${name}`, {
      labels: { team },
      nodeName: NODES[index]!,
      addresses: [this.address(`${team}/${name}`)],
      hostNetwork: team === 'host',
      namedPorts: [
        { name: 'web', protocol: 'TCP', port: 80 },
        { name: 'dns', protocol: 'UDP', port: 53 },
      ],
    });
  }
}
