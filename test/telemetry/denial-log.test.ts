import assert from 'node:assert/strict';
import { NodeCompiler, loadSnapshot } from '../../src/compile/compile-node.ts';
import { createAgentMetrics, createRegistry } from '../../src/telemetry/metrics.ts';
import { DenialLog, type DropLogState, dropLogReady, logDropLogState } from '../../src/telemetry/denial-log.ts';
import type { DeniedPacket } from '../../src/telemetry/denial-record.ts';
import { pod, policy, snapshot } from '../support/builders.ts';
import { SILENT_LOGGER } from '../support/silent-logger.ts';
import { VirtualClock } from '../support/virtual-clock.ts';

const DENY = policy('x/deny', { podSelector: {}, policyTypes: ['Ingress'] });

function packetTo(port: number): DeniedPacket {
  const flow = { source: '192.0.2.1', destination: '10.0.0.1', protocol: 6, port };
  return { verdict: 'denied', direction: 'ingress', isReply: false, flow, interface: '' };
}

function made() {
  const of = snapshot({ pods: [pod('x/a', { addresses: ['10.0.0.1'] })], policies: [DENY] });
  const compiler = new NodeCompiler('node-1');
  loadSnapshot(compiler, of);
  const clock = new VirtualClock();
  const lines: { readonly message: string; readonly fields: Readonly<Record<string, unknown>> }[] = [];
  const say = (message: string, fields = {}): void => void lines.push({ message, fields });
  const metrics = createAgentMetrics(createRegistry(), { processMetrics: false });
  let isBroken = false;
  const denials = new DenialLog({
    world: () => {
      if (isBroken) throw new Error('broken');
      return { nodeName: 'node-1', snapshot: of, directory: compiler.directory(), interfaces: [] };
    },
    metrics,
    log: { ...SILENT_LOGGER, info: say, error: say },
    clock,
    timestamp: () => new Date(clock.wallTime()).toISOString(),
  });
  const metric = async (name: string): Promise<number> => {
    const { body } = await metrics.scrape();
    return Number(
      body
        .split('\n')
        .find((line) => line.startsWith(`${name} `))
        ?.split(' ')[1],
    );
  };
  return { clock, lines, denials, metric, breakIt: (is: boolean) => (isBroken = is) };
}

describe('the log of denied flows', () => {
  it('has one structured line per flow, and the page the same', async () => {
    const { lines, denials, clock } = made();
    denials.packet(packetTo(80));
    denials.packet(packetTo(81));
    denials.packet(packetTo(80));
    clock.advance(61_000);
    await denials.stop();
    assert.deepEqual(
      lines.map(({ message }) => message),
      [
        'denied: 192.0.2.1 (outside) to x/a (10.0.0.1), TCP 80, ingress: x/deny no rules: allows nothing',
        'denied: 192.0.2.1 (outside) to x/a (10.0.0.1), TCP 81, ingress: x/deny no rules: allows nothing',
        'denied: 192.0.2.1 (outside) to x/a (10.0.0.1), TCP 80, ingress: x/deny no rules: allows nothing (1 packets in 60 s)',
      ],
    );
    const { time, ...latest } = denials.recent()[0]!;
    assert.deepEqual(latest, lines[2]!.fields);
    assert.equal(time, new Date(1_000_000).toISOString());
    assert.equal(latest.port, 80);
  });

  it('keeps the latest 200 for the page', async () => {
    const { denials, clock } = made();
    for (let port = 1; port <= 300; port++) {
      denials.packet(packetTo(port));
      clock.advance(100);
    }
    await denials.stop();
    assert.deepEqual([denials.recent().length, denials.recent()[0]!.port], [200, 300]);
  });

  it('counts lines and what is left out, from 0 on, and says once a minute how much that is', async () => {
    const { denials, clock, lines, metric } = made();
    assert.equal(await metric('portcullis_denials_logged_total'), 0);
    for (const reason of ['rate', 'flows', 'lost'])
      assert.equal(await metric(`portcullis_denials_left_out_total{reason="${reason}"}`), 0);
    for (let port = 1; port <= 5_000; port++) denials.packet(packetTo(port));
    denials.leftOut('lost', 7);
    clock.advance(120_000);
    await denials.stop();
    assert.equal(await metric('portcullis_denials_left_out_total{reason="flows"}'), 5_000 - 4_096);
    assert.equal(await metric('portcullis_denials_left_out_total{reason="lost"}'), 7);
    const logged = await metric('portcullis_denials_logged_total');
    const rate = await metric('portcullis_denials_left_out_total{reason="rate"}');
    assert.equal(logged + rate, 4_096);
    const summaries = lines.filter(({ message }) => message.includes('are in no line'));
    assert.ok(summaries.length >= 1 && summaries.length <= 2, JSON.stringify(summaries));
    const left = summaries.flatMap(({ fields }) => Object.values(fields) as number[]);
    assert.equal(
      left.reduce((sum, each) => sum + each, 0),
      rate + 7 + 5_000 - 4_096,
    );
  });

  it('goes on after a packet that cannot be explained', async () => {
    const { denials, lines, breakIt, metric } = made();
    breakIt(true);
    denials.packet(packetTo(80));
    await denials.stop();
    assert.match(lines[0]!.message, /cannot be explained/);
    assert.equal(await metric('portcullis_denials_left_out_total{reason="lost"}'), 1);
    breakIt(false);
    denials.packet(packetTo(81));
    await denials.stop();
    assert.match(lines.at(-1)!.message, /^denied: .* TCP 81/);
  });
});

describe('condition drop-log', () => {
  const rows: readonly [DropLogState, RegExp][] = [
    [{ kind: 'off', flag: '--drop-log=false' }, /counted, .*: --drop-log=false$/],
    [{ kind: 'reading' }, /told in the log and at \/denials/],
    [{ kind: 'starting' }, /being started/],
    [{ kind: 'missing', complaint: 'not found' }, /install packages ulogd2 and ulogd2-json/],
    [{ kind: 'taken' }, /another program reads the netfilter log group.*--nflog-group/],
    [{ kind: 'failing', complaint: 'no netlink' }, /no netlink/],
  ];
  for (const [state, reason] of rows)
    it(`${state.kind}: never a reason to be unready`, () => {
      const found = dropLogReady(state);
      assert.equal(found.ok, true);
      assert.match(found.reason, reason);
    });

  it('is told in the log when it changes, and only then', () => {
    const lines: string[] = [];
    const log = {
      ...SILENT_LOGGER,
      info: (text: string) => lines.push(`info ${text}`),
      warn: (text: string) => lines.push(`warn ${text}`),
    };
    const tell = logDropLogState(log);
    for (const kind of ['starting', 'reading', 'starting', 'reading', 'taken', 'starting', 'taken', 'reading'] as const)
      tell({ kind });
    assert.deepEqual(
      lines.map((line) => line.split(':')[0]),
      ['warn denied packets are counted, not told one by one', 'info denied flows are told in the log and at /denials'],
    );
  });
});
