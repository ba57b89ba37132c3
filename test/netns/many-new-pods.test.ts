/**
 * A burst of new pods on one node while all of them talk (S-75). Their addresses are behind one interface, for network namespaces take longer to
 * make than the API takes to tell of pods: what is shown is the gate, the sets and the order of commits, not as many interfaces.
 */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import { AgentLab, enforcedBy, type Engine, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { Crowd, crowdAddress } from '../support/crowd-of-pods.ts';
import { namespaceObject, nodeObject, podObject, runningStatus } from '../support/api-objects.ts';

/** How many come. */
const COUNTS: readonly (readonly [Engine, number])[] = [
  ['iptables-nft', 5000],
  ['nftables', 1500],
];
const PER_SECOND = 500;
/** One of so many is selected by no policy. */
const OPEN_ONE_OF = 10;
/** The agent's node: one of the API alone, or the lab's kubelet would start a network namespace for each pod. */
const NODE = 'crowded';
const isOpen = (n: number): boolean => n % OPEN_ONE_OF === 0;

for (const [engine, count] of COUNTS)
  describe(`new pods by the thousand: ${engine}`, function () {
    this.timeout(120_000);
    let t: AgentLab;
    let crowd: Crowd | undefined;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ ...enforcedBy(engine), families: [4] });
      const { store, network } = t.lab;
      const addresses = network.nodes()[0]!.addresses.map((address) => ({ type: 'InternalIP', address }));
      store.create('namespaces', namespaceObject('crowd'));
      store.create('nodes', nodeObject(NODE));
      store.setStatus('nodes', { name: NODE }, { addresses });
      t.policy('crowd/shut', { podSelector: { matchLabels: { app: 'shut' } }, policyTypes: ['Ingress', 'Egress'] });
      crowd = await Crowd.create(t, count);
    });
    after(async () => {
      await crowd?.close();
      await t?.close();
    });

    function newPod(n: number): void {
      const { store } = t.lab;
      const pod = { namespace: 'crowd', name: `p${n}` };
      const labels = { app: isOpen(n) ? 'open' : 'shut' };
      store.create('pods', podObject(`crowd/p${n}`, { labels, spec: { nodeName: NODE } }));
      store.setStatus('pods', pod, runningStatus(crowdAddress(n)));
    }

    it(`fault: ${PER_SECOND} new pods a second for ${count / PER_SECOND} s, closed: no packet of an isolated pod, before its rules or after`, async () => {
      const agent = t.launch('node-1', { flags: [`--node-name=${NODE}`, '--new-pods=closed'] });
      await agent.ready();
      const started = performance.now();
      for (let made = 0; made < count; ) {
        const due = Math.min(count, Math.ceil(((performance.now() - started) * PER_SECOND) / 1000));
        for (; made < due; made++) newPod(made);
        crowd!.probe(made - PER_SECOND, made + PER_SECOND / 5);
        await sleep(20);
      }
      crowd!.probe(0, count);
      const arrived = { ingress: new Set<number>(), egress: new Set<number>() };
      await until(
        async () => {
          const seen = await crowd!.seen();
          for (const direction of ['ingress', 'egress'] as const)
            for (const n of seen[direction].keys()) arrived[direction].add(n);
          return Math.min(arrived.ingress.size, arrived.egress.size) >= count / OPEN_ONE_OF;
        },
        () => `all open pods are reached: ${arrived.ingress.size} ${arrived.egress.size}\n${agent.tail()}`,
        60_000,
      );
      for (const direction of ['ingress', 'egress'] as const)
        assert.deepEqual(
          [...arrived[direction]].filter((n) => !isOpen(n)),
          [],
          direction,
        );
      // The agent tells at the end of the sync whose commands let the last ones pass.
      await until(async () => (await agent.metric('portcullis_new_pods_waiting')) === 0, 'no pod waits', 10_000);
    });
  });
