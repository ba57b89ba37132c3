/** Commits to nf_tables of a real kernel, heard by a socket and through the programs: the same of either. Needs root, nft, iptables-nft. */
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { runCommand } from '../../src/host/command.ts';
import { ffiFile } from '../../src/host/ffi-file.ts';
import { sendingThreads } from '../../src/host/netlink-socket.ts';

const PROBE = join(import.meta.dirname, '../support/commit-probe.ts');
const BEGUN = ['IPv4 listening', 'IPv6 listening'];

/** The programs print it as if a chain of that name was made. */
const RENAME = 'iptables-nft -t mangle -E PCL-X ANOTHER';

/** What somebody does, and what is told of it. */
const COMMANDS: readonly (readonly [command: string, ...told: string[]])[] = [
  ['iptables-nft -t mangle -N PCL-X', 'IPv4 chains by iptables-nft'],
  ['ip6tables-nft -t mangle -N PCL-X', 'IPv6 chains by ip6tables-nft'],
  ['iptables-nft -t mangle -I FORWARD -j ACCEPT', 'IPv4 hooks by iptables-nft'],
  ['iptables-nft -t mangle -D FORWARD -j ACCEPT', 'IPv4 hooks by iptables-nft'],
  ['ip6tables-nft -t mangle -A INPUT -j ACCEPT', 'IPv6 hooks by ip6tables-nft'],
  ['iptables-nft -t mangle -P FORWARD DROP'],
  ['iptables-nft -t mangle -A PCL-X -j RETURN', 'IPv4 chains by iptables-nft'],
  ['nft flush chain ip mangle PCL-X', 'IPv4 chains by nft'],
  [RENAME, 'IPv4 chains by iptables-nft'],
  ['iptables-nft -t mangle -N OTHER'],
  ['iptables-nft -t mangle -N PCL-Y', 'IPv4 chains by iptables-nft'],
  ['iptables-nft -t mangle -X PCL-Y', 'IPv4 chains by iptables-nft'],
  ['iptables-nft -t mangle -A POSTROUTING -j RETURN'],
  ['iptables-nft -t nat -N PCL-X'],
  ['iptables-nft -t mangle -N PCL-PROBE'],
  ['nft add table inet portcullis', 'table by nft'],
  ['nft add chain inet portcullis c { type filter hook input priority 0; }', 'table by nft'],
  ['nft add rule inet portcullis c drop', 'table by nft'],
  ['nft add set inet portcullis s { type ipv4_addr; }', 'table by nft'],
  ['nft add element inet portcullis s { 10.0.0.1 }', 'table by nft'],
  ['nft add table bridge portcullis', 'table by nft'],
  ['nft add table ip portcullis'],
  ['nft add table inet portcullis-probe'],
  ['nft list ruleset'],
  ['nft flush ruleset', 'IPv4 chains by nft', 'IPv6 chains by nft', 'table by nft'],
];

describe('fault: what anybody commits to nf_tables is heard', function () {
  this.timeout(60_000);
  const [here, elsewhere] = [`pclcl-${process.pid}`, `pclcm-${process.pid}`];
  const run = (...argv: readonly [string, ...string[]]) => runCommand({ argv, timeoutMs: 50_000 });

  before(async function () {
    if (process.getuid?.() !== 0) this.skip();
    for (const namespace of [here, elsewhere]) await run('ip', 'netns', 'add', namespace);
  });
  beforeEach(() => run('ip', 'netns', 'exec', here, 'nft', 'flush', 'ruleset'));
  after(async () => {
    if (process.getuid?.() === 0)
      for (const namespace of [here, elsewhere]) await run('ip', 'netns', 'delete', namespace);
  });

  for (const by of ['socket', 'program'] as const)
    describe(`by a ${by}`, () => {
      before(function () {
        // An optional package.
        if (by === 'socket' && ffiFile() === undefined) this.skip();
      });

      async function heard(scenario: string, ...more: readonly string[]): Promise<readonly string[]> {
        const { stdout } = await run('ip', 'netns', 'exec', here, process.execPath, PROBE, scenario, by, ...more);
        return JSON.parse(stdout) as readonly string[];
      }

      /** What was told between two marks, sorted, as monitors do not wait for each other. */
      function parts(told: readonly string[]): readonly (readonly string[])[] {
        const found: string[][] = [[]];
        for (const line of told) {
          if (line.startsWith('#')) found.push([line.slice(2)]);
          else found.at(-1)!.push(line);
        }
        return found.map(([first, ...others]) => [first!, ...others.sort()]);
      }

      it('each change of our chains, hooks and tables is told once, with the program; of nothing else', async () => {
        const told = await heard('commands', ...COMMANDS.map(([command]) => command));
        const expected = COMMANDS.map(([command, ...lines]) =>
          by === 'program' && command === RENAME ? [command] : [command, ...lines],
        );
        assert.deepEqual(parts(told), [BEGUN, ...expected]);
      });

      it('what happens in another network namespace is not', async () => {
        const command = `ip netns exec ${elsewhere} nft add table inet portcullis`;
        assert.deepEqual(parts(await heard('commands', command)), [BEGUN, [command]]);
      });

      it(`whether all was told of is ${by === 'socket' ? 'known by the number of commits, whoever made them' : 'never certain'}`, async () => {
        const commands = [
          'nft add table inet other',
          'nft add rule inet other absent drop',
          'iptables-nft -t nat -N X',
          'iptables-nft -t mangle -A POSTROUTING -j RETURN',
          `ip netns exec ${elsewhere} nft add table inet other`,
          'nft flush ruleset',
        ];
        const told = (await heard('certain', ...commands)).filter((line) => line.includes(':'));
        const answer = by === 'socket' ? 'true true' : 'false false';
        assert.deepEqual(
          told,
          ['true', ...commands].map((command) => `${command}: ${answer}`),
        );
      });

      it(`whether our table is as we left it is ${by === 'socket' ? 'known: whatever else is committed' : 'never certain'}`, async () => {
        const commands: readonly (readonly [command: string, isLeft: boolean])[] = [
          ['true', true],
          ['nft add table inet other', true],
          ['iptables-nft -t mangle -A FORWARD -j RETURN', true],
          ['nft add rule inet portcullis absent drop', true],
          [`ip netns exec ${elsewhere} nft add table inet portcullis`, true],
          ['nft add element inet portcullis pods { 10.9.9.9 }', false],
          ['nft delete element inet portcullis pods { 10.9.9.9 }', false],
          ['nft add chain inet portcullis theirs', false],
          ['nft add table bridge portcullis', false],
          ['nft flush ruleset', false],
        ];
        const told = (await heard('as-left', ...commands.slice(1).map(([command]) => command))).filter((line) =>
          line.includes(': '),
        );
        assert.deepEqual(
          told,
          commands.map(([command, isLeft]) => {
            const answer = by === 'socket' && isLeft;
            return `${command}: ${answer} ${answer}`;
          }),
        );
      });

      it(`5,000 rules in one commit, while this process is busy: ${by === 'socket' ? 'nothing is lost' : 'told, or known to be lost'}`, async () => {
        const told = await heard('many');
        if (by === 'socket')
          assert.deepEqual(told, [...BEGUN, 'IPv4 chains by iptables-nft-re', 'IPv4 chains by iptables-nft']);
        else
          assert.ok(
            told.slice(2).some((line) => line.startsWith('IPv4')),
            told.join('\n'),
          );
      });

      it('more than there is room for: known to be lost, and what comes later is heard', async () => {
        const [before, after] = parts(await heard('overrun'));
        assert.ok(before!.includes('IPv4 overrun'), before!.join('\n'));
        assert.equal(before!.filter((line) => line === 'IPv4 listening').length, 2);
        assert.deepEqual(after, ['again', 'IPv4 hooks by iptables-nft']);
      });

      // A program is told of all tables.
      if (by === 'socket')
        it('5,000 rules of others in a table of theirs: none takes room that there is for ours', async () => {
          assert.deepEqual(await heard('elsewhere'), BEGUN);
        });

      it('250 commits of ours by nft and netlink, and 50 by iptables-nft-restore, as fast as they go: none is somebody else’s', async () => {
        const expected = ['others', 'IPv4 chains by iptables-nft-re', 'table by nft'];
        assert.deepEqual(parts(await heard('own')), [BEGUN, expected]);
      });

      it('a netlink message of another process while ours is waited for is somebody else’s', async function () {
        if (ffiFile() === undefined) this.skip();
        assert.deepEqual(await heard('same-thread'), [`table by ${sendingThreads().at(-1)}`]);
      });
    });
});
