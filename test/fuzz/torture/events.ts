/** Random things that happen to a cluster, each in words and as an act on the lab's API server. */
import type { Lab } from '../../../lab/lab.ts';
import type { ClusterNetworkPolicyObject, NetworkPolicyObject, PodObject } from '../../../lab/api/objects.ts';
import { MODE_KEY } from '../../../src/core/vocabulary.ts';
import { ADDRESSES_ANNOTATION } from '../../../lab/kubelet.ts';
import type { Dice } from './dice.ts';
import {
  ACTIONS,
  CLUSTER_POLICY_NAMES,
  type Json,
  labelPatch,
  NAMESPACES,
  NODES,
  POD_NAMES,
  POLICY_NAMES,
  type PodPlan,
  someClusterPolicySpec,
  somePod,
  somePodAddresses,
  somePolicySpec,
  somePriority,
  someRule,
  someSelector,
  someTierRule,
} from './objects.ts';
import { policyObject } from '../../support/builders.ts';

export interface Event {
  readonly text: string;
  readonly act: () => void;
}

/** Pods a lab holds in its namespaces; more would say little more and take longer. */
const MAX_PODS = 8;
const MAX_POLICIES = 6;

/** What is chosen from: the pods that ran in the beginning, and the names that were in use then. */
export interface Scene {
  readonly dice: Dice;
  readonly lab: Lab;
  /** By uid. */
  readonly running: ReadonlySet<string>;
  readonly names: ReadonlySet<string>;
  /** Cluster-wide policies come, change and go as well. */
  readonly hasTiers: boolean;
}

/** What is in other namespaces is somebody else's. */
const isOurs = ({ metadata }: { readonly metadata: { readonly namespace?: string } }): boolean =>
  NAMESPACES.includes(metadata.namespace ?? '');

const podsOf = ({ store }: Lab): readonly PodObject[] => store.list('pods').filter(isOurs);
const policiesOf = ({ store }: Lab): readonly NetworkPolicyObject[] => store.list('networkpolicies').filter(isOurs);

export function sceneOf(dice: Dice, lab: Lab, hasTiers = false): Scene {
  const pods = podsOf(lab);
  const running = pods.filter(({ metadata, status }) => isRunning(metadata, status?.phase));
  const uids = new Set(running.map(({ metadata }) => metadata.uid!));
  return { dice, lab, running: uids, names: new Set(pods.map(keyOf)), hasTiers };
}

/** Chooses among what is possible now; undefined if the choice is not. `networkToo`: pods may come, go and move. */
export function someEvent(scene: Scene, networkToo: boolean): Event | undefined {
  const { dice } = scene;
  const rules: readonly (readonly [number, () => Event | undefined])[] = [
    [4, () => applyPolicy(scene)],
    [3, () => editPolicy(scene)],
    [2, () => deletePolicy(scene)],
    [2, () => setMode(scene)],
    [4, () => labelPod(scene)],
    [2, () => labelNamespace(scene)],
  ];
  const network: readonly (readonly [number, () => Event | undefined])[] = [
    [2, () => createPod(scene)],
    [2, () => deletePod(scene)],
    [2, () => recreatePod(scene)],
    [3, () => takeOver(scene)],
    [1, () => finishPod(scene)],
    [1, () => terminatePod(scene)],
    [1, () => publish(scene)],
  ];
  const tiers: readonly (readonly [number, () => Event | undefined])[] = [
    [3, () => applyClusterPolicy(scene)],
    [5, () => editClusterPolicy(scene)],
    [2, () => deleteClusterPolicy(scene)],
    [1, () => labelNode(scene)],
  ];
  return dice.weighted<Event | undefined>(...rules, ...(scene.hasTiers ? tiers : []), ...(networkToo ? network : []));
}

// ------------------------------------------------------------------------------------------------------------ policies

export function applyPolicy(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const { store } = lab;
  const [namespace, name] = [dice.pick(NAMESPACES), dice.pick(POLICY_NAMES)];
  const exists = store.get('networkpolicies', { namespace, name }) !== undefined;
  if (!exists && policiesOf(lab).length >= MAX_POLICIES) return undefined;
  const spec = somePolicySpec(dice);
  const object = policyObject(`${namespace}/${name}`, spec);
  return {
    text: `${exists ? 'replace' : 'create'} policy ${namespace}/${name} ${JSON.stringify(spec)}`,
    act: () => void (exists ? store.update('networkpolicies', object) : store.create('networkpolicies', object)),
  };
}

/** One thing of a policy changes, everything else stays. */
function editPolicy(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const policies = policiesOf(lab);
  if (policies.length === 0) return undefined;
  const { metadata, spec } = dice.pick(policies);
  const ref = { namespace: metadata.namespace!, name: metadata.name };
  const direction = dice.pick(['ingress', 'egress'] as const);
  const rules = (spec?.[direction] ?? []) as readonly Json[];
  const peers = direction === 'ingress' ? 'from' : 'to';
  const patch = dice.weighted<Json>(
    [2, () => ({ [direction]: [...rules, someRule(dice, peers)] })],
    [2, () => ({ [direction]: rules.slice(1) })],
    [1, () => ({ podSelector: someSelector(dice) })],
    [1, () => ({ policyTypes: dice.pick([['Ingress'], ['Egress'], ['Ingress', 'Egress']]) })],
  );
  return {
    text: `edit policy ${ref.namespace}/${ref.name} ${JSON.stringify(patch)}`,
    act: () =>
      void lab.store.modify('networkpolicies', ref, (draft) => {
        draft.spec = { ...(draft.spec as Json), ...patch };
      }),
  };
}

function deletePolicy(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const policies = policiesOf(lab);
  if (policies.length === 0) return undefined;
  const { metadata } = dice.pick(policies);
  const ref = { namespace: metadata.namespace!, name: metadata.name };
  return {
    text: `delete policy ${ref.namespace}/${ref.name}`,
    act: () => void lab.store.delete('networkpolicies', ref),
  };
}

/** A policy, or all of a namespace, is only audited from now on, or enforced again. */
function setMode({ dice, lab }: Scene): Event | undefined {
  const policies = policiesOf(lab);
  if (policies.length === 0) return undefined;
  const { metadata } = dice.pick(policies);
  const mode = dice.pick(['audit', 'audit', 'enforce', null]);
  const annotations = { metadata: { annotations: { [MODE_KEY]: mode } } };
  const namespace = metadata.namespace!;
  const { store } = lab;
  if (dice.chance(0.3))
    return {
      text: `mode of namespace ${namespace}: ${mode}`,
      act: () => void store.patch('namespaces', { name: namespace }, 'merge', annotations),
    };
  return {
    text: `mode of policy ${namespace}/${metadata.name}: ${mode}`,
    act: () => void store.patch('networkpolicies', { namespace, name: metadata.name }, 'merge', annotations),
  };
}

// ----------------------------------------------------------------------------------------------- cluster-wide policies

export function applyClusterPolicy({ dice, lab }: Scene): Event {
  const { store } = lab;
  const name = dice.pick(CLUSTER_POLICY_NAMES);
  const exists = store.get('clusternetworkpolicies', { name }) !== undefined;
  const spec = someClusterPolicySpec(dice);
  const object = { metadata: { name }, spec };
  return {
    text: `${exists ? 'replace' : 'create'} cluster-wide policy ${name} ${JSON.stringify(spec)}`,
    act: () =>
      void (exists ? store.update('clusternetworkpolicies', object) : store.create('clusternetworkpolicies', object)),
  };
}

/** One rule changes its place or action, comes or goes, or the policy changes its place among the others. */
function editClusterPolicy(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const found = someClusterPolicy(scene);
  if (!found) return undefined;
  const { name } = found.metadata;
  const side = dice.pick(['ingress', 'egress'] as const);
  const rules = [...((found.spec[side] ?? []) as readonly Json[])];
  const at = dice.below(rules.length + 1);
  const fresh = someTierRule(dice, side === 'ingress' ? 'from' : 'to');
  const other = rules[at];
  const patch = dice.weighted<Json>(
    [2, () => ({ [side]: rules.toSpliced(at, 0, fresh) })],
    [2, () => ({ [side]: rules.toSpliced(at, 1) })],
    [3, () => ({ [side]: other ? rules.with(at, { ...other, action: dice.pick(ACTIONS) }) : rules })],
    [3, () => ({ [side]: other ? [other, ...rules.toSpliced(at, 1)] : rules.toReversed() })],
    [2, () => ({ priority: somePriority(dice) })],
    [1, () => ({ tier: found.spec.tier === 'Admin' ? 'Baseline' : 'Admin' })],
    [1, () => ({ subject: { pods: { podSelector: someSelector(dice) } } })],
  );
  return {
    text: `edit cluster-wide policy ${name} ${JSON.stringify(patch)}`,
    act: () =>
      void lab.store.modify('clusternetworkpolicies', { name }, (draft) => {
        draft.spec = { ...draft.spec, ...patch };
      }),
  };
}

function deleteClusterPolicy(scene: Scene): Event | undefined {
  const found = someClusterPolicy(scene);
  if (!found) return undefined;
  const { name } = found.metadata;
  return {
    text: `delete cluster-wide policy ${name}`,
    act: () => void scene.lab.store.delete('clusternetworkpolicies', { name }),
  };
}

function someClusterPolicy({ dice, lab }: Scene): ClusterNetworkPolicyObject | undefined {
  const all = lab.store.list('clusternetworkpolicies');
  return all.length === 0 ? undefined : dice.pick(all);
}

/** N-44. */
function labelNode({ dice, lab }: Scene): Event {
  const name = dice.pick(NODES);
  const labels = labelPatch(dice);
  return {
    text: `label node ${name} ${JSON.stringify(labels)}`,
    act: () => void lab.store.patch('nodes', { name }, 'merge', { metadata: { labels } }),
  };
}

// -------------------------------------------------------------------------------------------------------------- labels

function labelPod(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const pod = somePodOf(scene);
  if (!pod) return undefined;
  const labels = labelPatch(dice);
  return {
    text: `label pod ${keyOf(pod)} ${JSON.stringify(labels)}`,
    act: () => void lab.store.patch('pods', refOf(pod), 'merge', { metadata: { labels } }),
  };
}

function labelNamespace(scene: Scene): Event {
  const { dice, lab } = scene;
  const name = dice.pick(NAMESPACES);
  const labels = labelPatch(dice);
  return {
    text: `label namespace ${name} ${JSON.stringify(labels)}`,
    act: () => void lab.store.patch('namespaces', { name }, 'merge', { metadata: { labels } }),
  };
}

// ---------------------------------------------------------------------------------------------------------------- pods

export function createPod(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  if (podsOf(lab).filter((pod) => !isGone(pod)).length >= MAX_PODS) return undefined;
  const [namespace, name, node] = [dice.pick(NAMESPACES), dice.pick(POD_NAMES), dice.pick(NODES)];
  if (scene.names.has(`${namespace}/${name}`) || lab.store.get('pods', { namespace, name })) return undefined;
  const addresses = dice.chance(0.1) ? [] : somePodAddresses(dice, node);
  if (addresses.some((address) => isHeld(lab, address))) return undefined;
  return creation(lab, 'create', somePod(dice, { namespace, name, node, addresses }));
}

function creation(lab: Lab, verb: string, object: Json): Event {
  const { metadata, spec } = object as { metadata: Json; spec: Json };
  const { namespace, name, ...rest } = metadata;
  return {
    text: `${verb} pod ${String(namespace)}/${String(name)} ${JSON.stringify(rest)} ${JSON.stringify(spec)}`,
    act: () => void lab.store.create('pods', object),
  };
}

function deletePod(scene: Scene): Event | undefined {
  const { lab } = scene;
  const pod = somePodOf(scene);
  if (!pod) return undefined;
  return { text: `delete pod ${keyOf(pod)}`, act: () => forceDelete(lab, pod) };
}

/** As a StatefulSet's: the same name, at once, with labels, ports and perhaps addresses of its own. */
function recreatePod(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const pod = somePodOf(scene);
  if (!pod) return undefined;
  const old = addressesOf(pod);
  const node = dice.pick(NODES);
  const fresh = somePodAddresses(dice, node);
  const keeps = old.length > 0 && (dice.chance(0.5) || fresh.some((address) => isHeld(lab, address)));
  const plan = keeps ? { node: pod.spec.nodeName!, addresses: old } : { node, addresses: fresh };
  if (plan.addresses.some((address) => isHeld(lab, address) && !old.includes(address))) return undefined;
  return replacement(lab, pod, somePod(dice, { ...refOf(pod), ...plan }));
}

/** Somebody else gets the addresses of a pod that is deleted, or that has finished and is still shown with them (S-71, S-73). */
function takeOver(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const pod = somePodOf(scene);
  if (!pod) return undefined;
  const addresses = addressesOf(pod);
  const [namespace, name] = [dice.pick(NAMESPACES), dice.pick(POD_NAMES)];
  if (addresses.length === 0 || scene.names.has(`${namespace}/${name}`)) return undefined;
  if (lab.store.get('pods', { namespace, name })) return undefined;
  const plan: PodPlan = { namespace, name, node: pod.spec.nodeName!, addresses };
  // A pod that lingers keeps its addresses as long as its object is there.
  if (dice.chance(0.5) || lingers(pod)) return replacement(lab, pod, somePod(dice, plan));
  const phase = dice.pick(['Succeeded', 'Failed']);
  const event = creation(lab, 'create', somePod(dice, plan));
  return {
    text: `pod ${keyOf(pod)} is ${phase}, its addresses go on: ${event.text}`,
    act: () => {
      lab.store.setStatus('pods', refOf(pod), { phase });
      event.act();
    },
  };
}

function replacement(lab: Lab, pod: PodObject, object: Json): Event {
  const event = creation(lab, 'create', object);
  return {
    text: `delete pod ${keyOf(pod)}, ${event.text}`,
    act: () => {
      forceDelete(lab, pod);
      event.act();
    },
  };
}

function finishPod(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const pod = somePodOf(scene);
  if (!pod) return undefined;
  const phase = dice.pick(['Succeeded', 'Failed']);
  return { text: `pod ${keyOf(pod)} is ${phase}`, act: () => void lab.store.setStatus('pods', refOf(pod), { phase }) };
}

/** One that lingers stays on the network, and counts, until it is deleted for good (S-72). */
function terminatePod(scene: Scene): Event | undefined {
  const { lab } = scene;
  const pod = somePodOf(scene);
  if (!pod) return undefined;
  return {
    text: `pod ${keyOf(pod)} is being deleted`,
    act: () => void lab.store.delete('pods', refOf(pod), { gracePeriodSeconds: 30 }),
  };
}

/** The API knows some of the addresses, or all again; the pod uses all of them all the time (S-57, S-77). */
function publish(scene: Scene): Event | undefined {
  const { dice, lab } = scene;
  const pod = somePodOf(scene);
  const all = pod ? addressesOf(pod) : [];
  if (!pod || all.length === 0) return undefined;
  const shown = dice.pick([all, all, all.slice(0, 1), all.slice(1), []]);
  const status = { podIP: shown[0] ?? null, podIPs: shown.length > 0 ? shown.map((ip) => ({ ip })) : null };
  return {
    text: `pod ${keyOf(pod)} shows ${shown.join(' ') || 'no address'}`,
    act: () => void lab.store.setStatus('pods', refOf(pod), status),
  };
}

function forceDelete(lab: Lab, pod: PodObject): void {
  lab.store.delete('pods', refOf(pod), { gracePeriodSeconds: 0 });
}

/** One of the pods that ran when the scene began and still do: how far others are is a matter of time, not of the seed. */
function somePodOf({ dice, lab, running }: Scene): PodObject | undefined {
  const pods = podsOf(lab).filter(
    ({ metadata, status }) => running.has(metadata.uid!) && isRunning(metadata, status?.phase),
  );
  return pods.length === 0 ? undefined : dice.pick(pods);
}

function isRunning(metadata: PodObject['metadata'], phase: string | undefined): boolean {
  return metadata.deletionTimestamp === undefined && phase === 'Running';
}

function addressesOf(pod: PodObject): readonly string[] {
  return (pod.metadata.annotations?.[ADDRESSES_ANNOTATION] ?? '').split(',').filter((address) => address !== '');
}

function lingers(pod: PodObject): boolean {
  return Object.keys(pod.metadata.annotations ?? {}).some((key) => key.endsWith('/linger'));
}

/** By a pod that is on the network or about to start; one that is about to stop does so first. */
function isHeld(lab: Lab, address: string): boolean {
  return lab.store.list('pods').some((pod) => addressesOf(pod).includes(address) && !isGone(pod));
}

function isGone(pod: PodObject): boolean {
  const finished = pod.status?.phase === 'Succeeded' || pod.status?.phase === 'Failed';
  return (finished || pod.metadata.deletionTimestamp !== undefined) && !lingers(pod);
}

function refOf(pod: PodObject): { readonly namespace: string; readonly name: string } {
  return { namespace: pod.metadata.namespace!, name: pod.metadata.name };
}

function keyOf(pod: PodObject): string {
  return `${pod.metadata.namespace}/${pod.metadata.name}`;
}
