/** The rules of other versions, earlier and later, under this version's agent: taken over without a wrong packet, nothing is left (S-09). */
import assert from 'node:assert/strict';
import { setTimeout as sleep } from 'node:timers/promises';
import type { LabRepeat } from '../../lab/network/types.ts';
import { AgentLab, type AgentProcess, BACKENDS, skipUnlessRoot, until } from '../support/agent-lab.ts';
import { loadRelease, RELEASE_PODS, RELEASE_POLICIES, RELEASE_REACH, RELEASES } from '../support/release-case.ts';

/** But for the generation, which goes on, and what the kernel chooses by itself. */
const plain = (text: string): string =>
  text
    .replaceAll(/-m (connmark ! --mark \S+|conntrack --ctstate RELATED,ESTABLISHED) -j (\S+-RECHECK)/g, 'STALE $2')
    .replaceAll(/0x[0-9a-f]+\/0xff000000/g, 'MARK')
    .replaceAll(/ (hashsize|bucketsize|initval) \S+/g, '');

/** What is on the node; empty while it cannot be listed: iptables-legacy-save stumbles over a set that goes meanwhile. */
async function listed(t: AgentLab, table: string | undefined = 'mangle'): Promise<string> {
  return t.kernelText('node-1', table).catch((error: unknown) => {
    assert.match(String(error), /Set with index \d+ in kernel doesn't exist/);
    return '';
  });
}

/** Lines of one text only. */
function difference(found: string, wanted: string): string {
  const [a, b] = [found, wanted].map((text) => text.split('\n')) as [string[], string[]];
  const extra = a.filter((line) => !b.includes(line)).map((line) => `too much: ${line}`);
  return [...extra, ...b.filter((line) => !a.includes(line)).map((line) => `missing: ${line}`)].join('\n');
}

for (const backend of BACKENDS) {
  describe(`fault: rules of another version stay behind (${backend})`, function () {
    this.timeout(90_000);
    let t: AgentLab;
    let fresh = '';
    let agent: AgentProcess;

    before(async function () {
      skipUnlessRoot.call(this);
      t = await AgentLab.create({ backend });
      await t.pods(
        Object.fromEntries(Object.entries(RELEASE_PODS).map(([key, [...addresses]]) => [key, { addresses }])),
      );
      for (const [key, spec] of Object.entries(RELEASE_POLICIES)) t.policy(key, spec);
      agent = await t.start();
      // Interfaces of pods, and a free epoch, are found a little later.
      let steady = 0;
      await until(
        async () => {
          await sleep(300);
          const text = plain(await t.kernelText());
          steady = text === fresh && text.includes(':PCL-PE ') ? steady + 1 : 0;
          fresh = text;
          return steady >= 3;
        },
        'the rules come to rest',
        20_000,
      );
      await end();
    });
    after(() => t?.close());
    afterEach(() => agent?.end('SIGKILL'));

    async function end(): Promise<void> {
      t.annotateNode('node-1', { 'portcullis.dev/mode': 'off' });
      await until(
        async () => {
          const text = await listed(t);
          return text !== '' && !text.includes('PCL');
        },
        'nothing is left',
        15_000,
      );
      await agent.end('SIGKILL');
      t.annotateNode('node-1', { 'portcullis.dev/mode': null });
    }

    it('there are rules of releases to try', () => assert.ok(RELEASES.includes('0.1.0') && RELEASES.includes('later')));

    for (const version of RELEASES)
      it(`${version}: taken over under probes, and the kernel holds what a first start makes`, async () => {
        await loadRelease(t, version);
        await t.expect(RELEASE_REACH);
        const probes: readonly (readonly [string, LabRepeat])[] = [
          ['reached', await t.repeat('x/friend', 'x/server')],
          ['reached', await t.repeat('x/friend', 'x/server', 6, 'UDP')],
          ['blocked', await t.repeat('x/stranger', 'x/server')],
          ['blocked', await t.repeat('x/stranger', 'x/server', 6, 'UDP')],
          ['blocked', await t.repeat('x/quiet', 'x/friend', 6)],
        ];
        agent = await t.start();
        let last = '';
        await until(
          async () => {
            last = plain(await listed(t));
            return last === fresh;
          },
          () => `as after a first start; ${difference(last, fresh)}\n${agent.tail()}`,
          15_000,
        );
        await until(
          async () => /^(?!.*v9).+$/is.test(await listed(t, undefined)),
          'no table holds anything of a later version',
        );
        await sleep(300);
        for (const [wanted, probe] of probes) {
          const { counts, changes } = await probe.stop();
          const outcomes = changes.map(({ outcome }) => outcome);
          assert.deepEqual(outcomes, [wanted], JSON.stringify(counts));
        }
        await t.expect(RELEASE_REACH);
        await agent.ready();
        await end();
      });
  });
}
