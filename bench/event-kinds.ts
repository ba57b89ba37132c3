/** The events whose way to the kernel is measured: each sends one watch line that changes what the measured node enforces. */
import { loadSnapshot, NodeCompiler } from '../src/compile/compile-node.ts';
import { objectKey } from '../src/policy/model.ts';
import {
  type ClusterModel,
  LOCAL_NODE,
  type PodSpec,
  podAddress,
  podObject,
  policyObject,
  relabelledNamespace,
} from './cluster-model.ts';
import type { Feed } from './feed.ts';
import { loadModel } from './load-model.ts';

/** One round of a story: the events in order, each measured by itself. What a round brings, it takes away again. */
export interface Story {
  readonly events: readonly { readonly name: string; readonly send: (feed: Feed, round: number) => void }[];
}

export interface Stories {
  readonly stories: readonly Story[];
  /** A remote pod that ends up in a set of the measured node; another one for each number. */
  readonly remote: (n: number) => PodSpec;
}

export function makeStories(model: ClusterModel): Stories {
  const remote = concerningPods(model);
  return { stories: storiesOf(model, remote), remote };
}

function storiesOf(model: ClusterModel, remote: Stories['remote']): readonly Story[] {
  const version = counter();
  return [
    {
      events: [
        { name: 'remote pod added', send: (feed, n) => feed.send('pods', 'ADDED', podObject(remote(n))) },
        {
          name: 'remote pod relabelled',
          send: (feed, n) =>
            feed.send('pods', 'MODIFIED', podObject(remote(n), { labels: UNWANTED, version: version() })),
        },
        {
          name: 'remote pod labelled back',
          send: (feed, n) => feed.send('pods', 'MODIFIED', podObject(remote(n), { version: version() })),
        },
        { name: 'remote pod deleted', send: (feed, n) => feed.send('pods', 'DELETED', podObject(remote(n))) },
      ],
    },
    {
      events: [
        { name: 'local pod added', send: (feed, n) => feed.send('pods', 'ADDED', podObject(localPod(model, n))) },
        { name: 'local pod deleted', send: (feed, n) => feed.send('pods', 'DELETED', podObject(localPod(model, n))) },
      ],
    },
    { events: [{ name: 'namespace relabelled', send: namespaceSender(model) }] },
    {
      events: [
        {
          name: 'policy added',
          send: (feed, n) => feed.send('networkpolicies', 'ADDED', policy(model, n, 'first', 1)),
        },
        {
          name: 'policy edited',
          send: (feed, n) => feed.send('networkpolicies', 'MODIFIED', policy(model, n, 'second', version())),
        },
        {
          name: 'policy deleted',
          send: (feed, n) => feed.send('networkpolicies', 'DELETED', policy(model, n, 'second', version())),
        },
      ],
    },
  ];
}

/** No policy asks for these. */
const UNWANTED = { 'app.kubernetes.io/name': 'other', tier: 'other' };

function counter(): () => number {
  let last = 1;
  return () => ++last;
}

function concerningPods(model: ClusterModel): (round: number) => PodSpec {
  const cluster = loadModel(model);
  const compiler = new NodeCompiler(LOCAL_NODE);
  loadSnapshot(compiler, cluster.snapshot);
  compiler.intent();
  const likes: number[] = [];
  for (let n = 0; n < 2_000 && likes.length < 400; n++) {
    const pod = cluster.project(podObject(model.newPod(n)));
    if (compiler.pod(objectKey(pod), pod)) likes.push(n);
    compiler.pod(objectKey(pod), undefined);
  }
  return (round) => {
    const spec = model.newPod(likes[round % likes.length]!);
    return { ...spec, name: `${spec.name}-${round}`, address: podAddress(200_000 + round) };
  };
}

function localPod(model: ClusterModel, round: number): PodSpec {
  const like = model.pods[round % model.options.localPods]!;
  return { ...like, name: `${like.name}-new-${round}`, address: podAddress(300_000 + round) };
}

/** Each round moves another namespace with pods into another team. */
function namespaceSender(model: ClusterModel): (feed: Feed, round: number) => void {
  const { localNamespaces, namespaces } = model.options;
  return (feed, round) =>
    feed.send(
      'namespaces',
      'MODIFIED',
      relabelledNamespace(localNamespaces + (round % (namespaces - localNamespaces)), 1 + round),
    );
}

/** Selects the local pods of one namespace; the two forms ask for different peers and ports: another chain, another set. */
function policy(model: ClusterModel, round: number, form: 'first' | 'second', version: number) {
  const namespace = `team-${round % model.options.localNamespaces}`;
  const names = form === 'first' ? ['web', 'db'] : ['web', 'api', 'cache'];
  const from = [
    {
      namespaceSelector: { matchLabels: { team: `t${round % 24}` } },
      podSelector: { matchExpressions: [{ key: 'app.kubernetes.io/name', operator: 'In', values: names }] },
    },
  ];
  const ports = [{ protocol: 'TCP', port: form === 'first' ? 8443 : 9443 }];
  const spec = { podSelector: {}, policyTypes: ['Ingress'], ingress: [{ from, ports }] };
  return policyObject(namespace, `measured-${round}`, spec, version);
}
