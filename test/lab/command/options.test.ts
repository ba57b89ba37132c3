import assert from 'node:assert/strict';
import { LAB_COMMAND } from '../../../lab/command/lab-command.ts';
import type { DumpShape } from '../../../lab/adapt-dump.ts';
import { completeOptions, type LabCommandOptions, readLabOptions } from '../../../lab/command/options.ts';
import { UsageProblem } from '../../../src/cli/flags.ts';
import { runProgram } from '../../../src/cli/program.ts';
import { givenBy } from '../../support/command-line.ts';

async function optionsOf(...argv: readonly string[]): Promise<LabCommandOptions> {
  return readLabOptions(await givenBy(LAB_COMMAND, argv));
}

function options(...argv: readonly string[]): Promise<LabCommandOptions> {
  return optionsOf('-f', 'a.yaml', ...argv);
}

async function error(...argv: readonly string[]): Promise<string> {
  try {
    await optionsOf(...argv);
  } catch (problem) {
    if (problem instanceof UsageProblem) return problem.message;
    throw problem;
  }
  assert.fail('accepted');
}

describe('arguments of portcullis lab', () => {
  it('have defaults', async () => {
    assert.deepEqual(await options(), {
      files: ['a.yaml'],
      recursive: false,
      wiring: 'routed',
      dataplane: 'auto',
      backend: 'iptables-nft',
      mode: 'enforce',
      ports: [],
      timeoutMs: 5000,
      keep: false,
      output: 'text',
      steps: true,
    } satisfies LabCommandOptions);
  });

  it('leave nodes and families to what is read', async () => {
    const complete = async (dump: DumpShape, ...argv: readonly string[]) => {
      const { nodes, families } = completeOptions(await options(...argv), dump);
      return [nodes, families];
    };
    const names = (count: number) => Array.from({ length: count }, (_, index) => `worker-${index}`);
    assert.deepEqual(await complete({ nodes: [], families: [] }), [2, [4, 6]]);
    assert.deepEqual(await complete({ nodes: names(1), families: [4] }), [2, [4]]);
    assert.deepEqual(await complete({ nodes: names(3), families: [4, 6] }), [3, [4, 6]]);
    assert.deepEqual(await complete({ nodes: names(40), families: [6] }), [5, [6]]);
    assert.deepEqual(await complete({ nodes: names(40), families: [6] }, '--nodes=7', '--families=4'), [7, [4]]);
  });

  it('are read', async () => {
    const read = await options(
      ...['-f', 'b', '--file=-', '-R', '--nodes', '3', '--wiring=bridge', '--families=6', '--backend=iptables-legacy'],
      ...['--mode=audit', '--ports', 'tcp:80,UDP:53,sctp:9', '--timeout=7', '--keep', '-o', 'json', '--no-steps'],
    );
    assert.deepEqual(read, {
      files: ['a.yaml', 'b', '-'],
      recursive: true,
      nodes: 3,
      wiring: 'bridge',
      families: [6],
      dataplane: 'auto',
      backend: 'iptables-legacy',
      mode: 'audit',
      ports: [
        { protocol: 'TCP', port: 80 },
        { protocol: 'UDP', port: 53 },
        { protocol: 'SCTP', port: 9 },
      ],
      timeoutMs: 7000,
      keep: true,
      output: 'json',
      steps: false,
    });
  });

  it('take every data plane with every wiring', async () => {
    for (const dataplane of ['auto', 'iptables', 'nftables'])
      for (const wiring of ['routed', 'bridge'])
        assert.equal((await options(`--dataplane=${dataplane}`, `--wiring=${wiring}`)).dataplane, dataplane);
  });

  it('take nothing from the network, and say how it gets there', async () => {
    assert.match(
      await error('-f', 'https://example.com/p.yaml'),
      /reads nothing from the network: curl -fsSL https:\/\/example\.com\/p\.yaml \| portcullis lab -f -$/,
    );
    assert.match(await error('-f', 'HTTP://example.com/p.yaml'), /nothing from the network/);
    assert.match(await error('-f', ''), /--file: needs a value/);
  });

  it('need manifests, unless the lab stays up', async () => {
    assert.match(await error(), /nothing to bring up: .*-f/);
    assert.deepEqual((await optionsOf('--keep')).files, []);
  });

  it('tell a story instead of manifests, with a second for the policy', async () => {
    const { demo, timeoutMs, files } = await optionsOf('--demo', 'live-download', '--wiring=bridge');
    assert.deepEqual([demo, timeoutMs, files], ['live-download', 1_000, []]);
    assert.match(await error('--demo', 'live-download', '-f', 'a'), /--demo brings its own pods/);
    assert.match(await error('--demo', 'live-download', '--keep'), /--demo brings its own pods/);
    assert.match(await error('--demo', 'movie'), /--demo: "movie" is not one of live-download/);
  });

  for (const [flag, value, expected] of [
    ['--nodes', '0', /--nodes: "0" is not a whole number from 1 to 20/],
    ['--nodes', '2.5', /--nodes: "2\.5"/],
    ['--nodes', '', /--nodes: needs a value/],
    ['--wiring', 'overlay', /--wiring: "overlay" is not one of routed, bridge/],
    ['--families', '4,5', /--families: "4,5" is not 4, 6 or 4,6/],
    ['--backend', 'nft', /--backend: "nft" is not one of iptables-nft, iptables-legacy/],
    ['--dataplane', 'nft', /--dataplane: "nft" is not one of auto, nftables, iptables/],
    ['--mode', 'off', /--mode: "off"/],
    ['--ports', 'tcp:0', /--ports: "tcp:0"/],
    ['--ports', '80', /--ports: "80"/],
    ['--ports', 'tcp:70000', /--ports: "tcp:70000"/],
    ['--ports', 'icmp:1', /--ports: "icmp:1"/],
    ['--timeout', '0', /--timeout: "0" is not a whole number from 1 to 600 seconds/],
    ['--output', 'yaml', /--output: "yaml"/],
  ] as const) {
    it(`refuse ${flag} ${JSON.stringify(value)}, naming the flag`, async () => {
      assert.match(await error('-f', 'a', flag, value), expected);
    });
  }

  it('refuse what they do not know', async () => {
    assert.match(await error('--frobnicate'), /--frobnicate/);
    assert.match(await error('-f', 'a', 'b'), /too many arguments .*: b\./);
  });

  it('have a help that names every flag and exit code, in 100 columns', async () => {
    let help = '';
    const none = { env: {}, version: '1', signal: new AbortController().signal, err: () => assert.fail() };
    const context = { ...none, load: { agent: () => assert.fail() }, more: [LAB_COMMAND] };
    const code = await runProgram(['lab', '--nodes', 'x', '--help'], { ...context, out: (text) => (help += text) });
    assert.equal(code, 0);
    for (const { name } of LAB_COMMAND.flags) assert.ok(help.includes(`--${name}`), name);
    assert.match(help, /Exit codes:\n {2}0 {2}measured.*\n {2}1 .*\n {2}2 /);
    for (const line of help.split('\n')) assert.ok(line.length <= 100, line);
  });
});
